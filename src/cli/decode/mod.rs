//! `catbird decode`: what stands in a capture, an MRT file or a line of hexadecimal digits, message by message, as our own decoder sees it.
//!
//! In: a file or standard input, gzip or bzip2 or neither; what it is is seen from its first octets. Out: text, or one JSON object a message and line.
//! A malformed message is shown with its place, the rule and the verdict, and the run goes on; a file that is not what it says ends it with one line.
//!
//! `source` finds out what the input is, `hex`, `pcap` (with `packet` and `tcp`) and `mrt` find messages in it, `show` writes them down.

mod hex;
mod mrt;
mod packet;
mod pcap;
mod show;
mod source;
mod tcp;

use std::cell::RefCell;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::rc::Rc;

use thiserror::Error;

use super::Exit;
use crate::num::{Family, FamilySet};
use crate::wire::{AddPathMode, Capability, Context, MAX_EXTENDED_LEN, MAX_LEN, Open};
use show::Printer;
use source::Kind;

/// What may be typed after `catbird decode`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(
    after_help = "Examples:\n  catbird decode capture.pcap\n  tcpdump -w - tcp port 179 | catbird decode\n  catbird decode --json rib.20261101.0000.bz2"
)]
pub struct DecodeArgs {
    /// A capture (pcap, pcapng), an MRT file, or hexadecimal digits; gzip, bzip2 or neither; `-` is standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// The input is hexadecimal digits: messages one after the other, `#` begins a comment
    #[arg(long)]
    pub hex: bool,
    /// Show what our encoder makes of each message, as hexadecimal digits
    #[arg(long)]
    pub reencode: bool,
    /// Without OPENs to tell: AS numbers have two octets
    #[arg(long)]
    pub two_octet_as: bool,
    /// Without OPENs to tell: prefixes carry a path identifier (RFC 7911)
    #[arg(long)]
    pub add_path: bool,
    /// Without OPENs to tell: judge as from a peer in another AS
    #[arg(long)]
    pub external: bool,
}

impl DecodeArgs {
    /// How messages are read when nobody has said better.
    fn context(&self) -> Context {
        Context {
            four_octet_as: !self.two_octet_as,
            families: FamilySet::ALL,
            add_path: if self.add_path { FamilySet::ALL } else { FamilySet::NONE },
            extended_next_hop: FamilySet::ALL,
            refresh_subtypes: true,
            max_len: MAX_EXTENDED_LEN,
            external: self.external,
            confederation: true,
        }
    }
}

/// Why the input as a whole cannot be read.
#[derive(Debug, Error)]
pub enum DecodeFileError {
    /// Reading or writing.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Neither MRT nor pcap nor hexadecimal digits.
    #[error("neither a capture (pcap, pcapng) nor an MRT file nor hexadecimal digits")]
    Unknown,
    /// A character that is no digit.
    #[error("line {line}: {what:?} is not hexadecimal digits")]
    NotHex { line: usize, what: String },
    /// Half an octet at the end of a line.
    #[error("line {line}: an odd number of hexadecimal digits")]
    OddHex { line: usize },
    /// The file breaks off, or is not what it begins as.
    #[error("{what} (octet {at} of the input)")]
    Malformed { what: &'static str, at: u64 },
}

/// The output, which whoever reads the input flushes before it waits for more: what came out of a pipe is shown while the pipe is open.
struct Shared<W>(Rc<RefCell<W>>);

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Shared<W> {
        Shared(self.0.clone())
    }
}

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

/// Reads the file and prints to standard output.
pub fn run(args: &DecodeArgs, json: bool) -> Exit {
    let name = args.file.display();
    let out = Shared(Rc::new(RefCell::new(io::BufWriter::new(io::stdout().lock()))));
    let outcome = source::open(&args.file, out.clone()).map_err(DecodeFileError::from).and_then(|input| decode(input, out, args, json));
    match outcome {
        Ok(()) => Exit::Fine,
        // Somebody who reads only the head of our output has seen enough.
        Err(DecodeFileError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => {
            eprintln!("catbird: {name}: {error}");
            Exit::Refused
        }
    }
}

/// All messages of `input`, in order. What was found before an error has been written by then.
///
/// # Errors
/// When the input is not what its first octets say, ends in the middle, or cannot be read or written.
pub fn decode(input: impl BufRead, out: impl Write, args: &DecodeArgs, json: bool) -> Result<(), DecodeFileError> {
    let (kind, input) = source::recognise(input, args.hex)?;
    let mut printer = Printer::new(out, json, args.reencode);
    let outcome = match kind {
        Kind::Hex => hex::decode(input, &mut printer, args.context()),
        Kind::Pcap => pcap::decode(input, &mut printer, &args.context()),
        Kind::Mrt => mrt::decode(input, &mut printer, &args.context()),
    };
    printer.flush()?;
    outcome
}

/// How messages of `sender` to `receiver` are read.
fn agreed(sender: &Open, receiver: &Open) -> Context {
    let add_path = Family::ALL
        .into_iter()
        .filter(|f| mode(sender, *f).is_some_and(AddPathMode::sends) && mode(receiver, *f).is_some_and(AddPathMode::receives));
    let long = receiver.capabilities.contains(&Capability::ExtendedMessage);
    Context {
        four_octet_as: sender.has_four_octet_as() && receiver.has_four_octet_as(),
        families: FamilySet::ALL,
        add_path: add_path.collect(),
        extended_next_hop: FamilySet::ALL,
        refresh_subtypes: sender.capabilities.contains(&Capability::EnhancedRouteRefresh),
        max_len: if long { MAX_EXTENDED_LEN } else { MAX_LEN },
        external: sender.asn != receiver.asn,
        confederation: true,
    }
}

fn mode(open: &Open, family: Family) -> Option<AddPathMode> {
    let entries = open.capabilities.iter().filter_map(|c| if let Capability::AddPath(entries) = c { Some(entries) } else { None });
    entries.flatten().find(|(afi, safi, _)| Family::from_codes(*afi, *safi) == Some(family)).map(|(.., mode)| *mode)
}

#[cfg(test)]
mod tests;
