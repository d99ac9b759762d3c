//! What the input is: seen from its first octets, after gzip or bzip2 was taken off.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;

use super::DecodeFileError;

/// What a file is, by its first octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text with hexadecimal digits.
    Hex,
    /// A capture (pcap or pcapng).
    Pcap,
    /// RFC 6396.
    Mrt,
}

/// An input, before each read of which an output is flushed.
struct Attentive<R, W>(R, W);

impl<R: Read, W: Write> Read for Attentive<R, W> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        self.1.flush()?;
        self.0.read(octets)
    }
}

/// `-` is standard input. `out` is flushed whenever more is read.
pub(super) fn open(path: &Path, out: impl Write + 'static) -> io::Result<Box<dyn BufRead>> {
    let input: Box<dyn Read> = if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    Ok(Box::new(BufReader::with_capacity(1 << 16, Attentive(input, out))))
}

/// The kind, and the input from its beginning, unpacked.
pub(super) fn recognise<'a>(input: impl BufRead + 'a, hex: bool) -> Result<(Kind, Box<dyn BufRead + 'a>), DecodeFileError> {
    let (head, input) = peek(input)?;
    let (head, input) = match head {
        [0x1f, 0x8b, ..] => peek(BufReader::new(MultiGzDecoder::new(input)))?,
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => peek(BufReader::new(MultiBzDecoder::new(input)))?,
        head => (head, input),
    };
    let kind = if hex { Some(Kind::Hex) } else { kind_of(&head) };
    Ok((kind.ok_or(DecodeFileError::Unknown)?, input))
}

/// The first twelve octets (zeros where there are none), which are read again afterwards.
fn peek<'a>(mut input: impl BufRead + 'a) -> io::Result<([u8; 12], Box<dyn BufRead + 'a>)> {
    let mut head = Vec::new();
    input.by_ref().take(12).read_to_end(&mut head)?;
    let mut first = [0; 12];
    first.iter_mut().zip(&head).for_each(|(to, from)| *to = *from);
    Ok((first, Box::new(io::Cursor::new(head).chain(input))))
}

fn kind_of(head: &[u8; 12]) -> Option<Kind> {
    match head {
        [0xa1, 0xb2, 0xc3 | 0x3c, 0xd4 | 0x4d, ..] | [0xd4 | 0x4d, 0xc3 | 0x3c, 0xb2, 0xa1, ..] | [0x0a, 0x0d, 0x0d, 0x0a, ..] => {
            Some(Kind::Pcap)
        }
        // RFC 6396 §4: types 11 to 17 and 32, 33, 48, 49; a subtype under 256; a record under 16 MiB.
        [_, _, _, _, 0, 11..=17 | 32 | 33 | 48 | 49, 0, _, 0, ..] => Some(Kind::Mrt),
        [first, ..] if first.is_ascii_hexdigit() || b" \t\r\n#;/".contains(first) => Some(Kind::Hex),
        _ => None,
    }
}
