//! Octets that many nodes are sent are decoded once.
//!
//! In: frames, which the members of an update group share. Out: for a thin node, the blocks that they announce and withdraw. What holds anything but
//! routes is not for here: End-of-RIB, KEEPALIVEs and the rest go through the node's own decoder, as all octets of a node that is run whole do.
//!
//! A piece keeps its octets, so that no others can stand at their place in memory.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;

use super::books::Books;
use super::thin::prefixes_of;
use crate::driver::Driver;
use crate::wire::{Context, Message, PathAttributes, Update};

/// When more pieces are kept, or more octets, all of them go.
const PIECES: usize = 100_000;
const OCTETS: usize = 64 << 20;

/// What some octets say.
#[derive(Debug)]
pub(super) struct Piece {
    frame: Bytes,
    /// UPDATEs, all of them with routes.
    pub messages: u32,
    /// In them, by their octets.
    pub prefixes: u32,
    /// Blocks in the order of the messages: announced, or withdrawn.
    pub routes: Vec<(u32, bool)>,
    /// Of the first route that is announced.
    pub attrs: Option<PathAttributes>,
}

impl Piece {
    pub fn octets(&self) -> u64 {
        self.frame.len() as u64
    }

    fn of(frame: &Bytes, context: &Context, books: &Books) -> Option<Piece> {
        let mut driver = Driver::default();
        driver.set_context(context.clone());
        driver.push(frame);
        let mut piece = Piece { frame: frame.clone(), messages: 0, prefixes: 0, routes: Vec::new(), attrs: None };
        while let Some(batch) = driver.next_batch() {
            for message in &batch.messages {
                let Message::Update(update) = message else { return None };
                piece.add(update, books)?;
            }
            if batch.error.is_some() {
                return None;
            }
        }
        driver.unfinished().is_none().then_some(piece)
    }

    fn add(&mut self, update: &Update, books: &Books) -> Option<()> {
        if update.end_of_rib.is_some() || update.errors.is_some() {
            return None;
        }
        self.messages += 1;
        self.prefixes += prefixes_of(update);
        let gone = update.withdrawn.iter().flatten().map(|nlri| (nlri, false));
        let come = update.announced.iter().flat_map(|run| &run.nlri).map(|nlri| (nlri, true));
        self.routes.extend(gone.chain(come).filter_map(|(nlri, come)| Some((books.find(&nlri.net)? as u32, come))));
        if self.attrs.is_none() {
            self.attrs = update.announced.iter().find_map(|run| run.attrs.clone());
        }
        Some(())
    }
}

/// Pieces that were decoded, by where their octets stand.
#[derive(Default)]
pub(super) struct Pieces {
    known: HashMap<(usize, usize), Arc<Piece>, FixedState>,
    octets: usize,
}

impl Pieces {
    /// What these octets say, if they hold routes alone. Members of a group have one context.
    pub fn get(&mut self, frame: &Bytes, context: &Context, books: &Books) -> Option<Arc<Piece>> {
        let place = (frame.as_ptr() as usize, frame.len());
        if let Some(known) = self.known.get(&place) {
            return Some(known.clone());
        }
        let piece = Arc::new(Piece::of(frame, context, books)?);
        if self.known.len() >= PIECES || self.octets >= OCTETS {
            self.known.clear();
            self.octets = 0;
        }
        self.octets += frame.len();
        self.known.insert(place, piece.clone());
        Some(piece)
    }
}
