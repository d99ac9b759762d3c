//! `catbird top`: sessions, rates, routes, the kernel and events on one screen that follows what happens.
//!
//! In: keys, and what the daemon answers. Out: frames on a terminal. [`gather`] asks the daemon, on threads of its own, so that keys are heard
//! while it does not answer; [`screen`] is what is known and what a key does to it, without a terminal; [`draw`] makes a frame of it. Nothing
//! can be ordered here.

mod draw;
mod gather;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::client::ClientError;
use super::{Exit, output};
use gather::{Gathered, Gatherer};
use screen::{Screen, Wish};

/// Keys are looked for this often, which is also how late a frame may be.
const FRAME: Duration = Duration::from_millis(100);
/// News that wait for the screen; whoever has more waits.
const QUEUE: usize = 1024;

/// Shows it until `q`, asking the daemon every `interval`.
///
/// # Errors
/// There is no terminal, or it goes away.
pub fn run(socket: &Path, interval: Duration) -> Result<Exit, ClientError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        eprintln!("catbird: top wants a terminal; `catbird status`, `catbird peers` and `catbird monitor` also write into pipes");
        return Ok(Exit::Refused);
    }
    let (tell, told) = sync_channel(QUEUE);
    let gatherer = Gatherer::start(socket, interval, tell);
    let mut screen = Screen::new(interval, output::colour_on(&io::stdout()));
    let mut terminal = ratatui::try_init()?;
    let ended = follow(&mut terminal, &mut screen, &gatherer, &told);
    ratatui::try_restore()?;
    ended.map(|()| Exit::Fine).map_err(ClientError::from)
}

fn follow(terminal: &mut DefaultTerminal, screen: &mut Screen, gatherer: &Gatherer, told: &Receiver<Gathered>) -> io::Result<()> {
    let began = Instant::now();
    loop {
        // However fast news come, there are frames in between.
        for _ in 0..QUEUE {
            match told.try_recv() {
                Ok(news) => screen.take(news),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        screen.now = began.elapsed();
        terminal.draw(|frame| draw::frame(screen, frame))?;
        if !event::poll(FRAME)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match screen.key(key) {
            Some(Wish::Quit) => return Ok(()),
            Some(Wish::Ask(question)) => screen.complaint = gatherer.ask(question).err(),
            None => {}
        }
    }
}
