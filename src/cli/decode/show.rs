//! How a message is written down: text for people, one JSON object a line for programs.

use std::io::{self, Write};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::num::Nlri;
use crate::wire::{Context, DecodeError, Message, Notification, Open, Severity, Unread, Update, frame_len, unread};

/// Where a message was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// Nanoseconds since 1970.
    pub(super) time: Option<u64>,
    /// Who sent it, where the file says so.
    pub(super) from: Option<SocketAddr>,
    /// Whom to, where the file says so.
    pub(super) to: Option<SocketAddr>,
    /// The number of the packet, from one.
    pub(super) packet: Option<u64>,
    /// In the input, where messages stand in it one after the other.
    pub(super) offset: Option<u64>,
    /// Of a table in an MRT file: which peer announced it, by address and AS.
    pub(super) peer: Option<String>,
}

/// Writes messages, numbered.
pub(super) struct Printer<W: Write> {
    out: W,
    json: bool,
    reencode: bool,
    number: u64,
}

impl<W: Write> Printer<W> {
    /// `reencode`: write each message again and say where octets differ.
    pub(super) fn new(out: W, json: bool, reencode: bool) -> Printer<W> {
        Printer { out, json, reencode, number: 0 }
    }

    /// # Errors
    /// The output cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// One message, or what is wrong with it.
    pub(super) fn message(
        &mut self,
        origin: &Origin,
        octets: &Bytes,
        result: Result<Message, DecodeError>,
        ctx: &Context,
    ) -> io::Result<()> {
        self.number = self.number.saturating_add(1);
        if self.json {
            let mut object = self.head(origin);
            object.insert("length".into(), octets.len().into());
            self.object(&mut object, octets, &result, ctx);
            return writeln!(self.out, "{}", Value::Object(object));
        }
        match result {
            Ok(message) if self.reencode => self.digits(&message, octets, ctx),
            Ok(message) => {
                writeln!(self.out, "{}{message}", self.prefix(origin))?;
                unread(octets, ctx).iter().try_for_each(|unread| writeln!(self.out, "  {unread}"))
            }
            Err(error) => {
                let prefix = if self.reencode { format!("# {}", self.prefix(origin)) } else { self.prefix(origin) };
                writeln!(self.out, "{prefix}malformed, {} octets: {error} [{}]", octets.len(), error.rule())?;
                let place = error.offset().map(|at| format!(" at offset {at}")).unwrap_or_default();
                let lead = if self.reencode { "# " } else { "" };
                writeln!(self.out, "{lead}  verdict{place}: {}, NOTIFICATION {}", error.severity().as_str(), Notification::from(&error))?;
                writeln!(self.out, "{lead}  {}", hex(octets.get(..octets.len().min(128)).unwrap_or_default()))
            }
        }
    }

    /// Something about the input that is no message.
    pub(super) fn note(&mut self, origin: &Origin, text: &str) -> io::Result<()> {
        if self.json {
            let mut object = self.head(origin);
            object.remove("number");
            object.insert("type".into(), "NOTE".into());
            object.insert("text".into(), text.into());
            return writeln!(self.out, "{}", Value::Object(object));
        }
        let lead = if self.reencode { "# " } else { "" };
        writeln!(self.out, "{lead}-- {}{text}", place(origin))
    }

    fn prefix(&self, origin: &Origin) -> String {
        format!("#{} {}", self.number, place(origin))
    }

    fn digits(&mut self, message: &Message, octets: &Bytes, ctx: &Context) -> io::Result<()> {
        unread(octets, ctx).iter().try_for_each(|unread| writeln!(self.out, "# {unread}"))?;
        reencoded(message, ctx).iter().try_for_each(|line| writeln!(self.out, "{line}"))
    }

    fn head(&self, origin: &Origin) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("number".into(), self.number.into());
        let mut put = |key: &str, value: Option<Value>| value.map(|v| object.insert(key.into(), v));
        put("time", origin.time.map(|t| (t as f64 / 1e9).into()));
        put("packet", origin.packet.map(Value::from));
        put("offset", origin.offset.map(Value::from));
        put("from", origin.from.map(|a| a.to_string().into()));
        put("to", origin.to.map(|a| a.to_string().into()));
        put("peer", origin.peer.clone().map(Value::from));
        object
    }

    fn object(&self, object: &mut Map<String, Value>, octets: &Bytes, result: &Result<Message, DecodeError>, ctx: &Context) {
        let mut put = |key: &str, value: Value| object.insert(key.into(), value);
        match result {
            Ok(message) => {
                put("type", message.name().into());
                put("verdict", verdict(message).into());
                match message {
                    Message::Open(open) => put("open", open_json(open)),
                    Message::Update(update) => {
                        let unread: Vec<Value> = unread(octets, ctx).iter().map(unread_json).collect();
                        if !unread.is_empty() {
                            put("not_read", unread.into());
                        }
                        put("update", update_json(update))
                    }
                    Message::Notification(n) => put("notification", notification_json(n)),
                    Message::RouteRefresh(r) => put("route_refresh", json!({"afi": r.afi, "safi": r.safi, "text": r.to_string()})),
                    Message::KeepAlive => None,
                };
                if self.reencode {
                    put("reencoded", reencoded(message, ctx).into());
                }
            }
            Err(error) => {
                put("type", "MALFORMED".into());
                put("verdict", error.severity().as_str().into());
                put("errors", json!([error_json(error)]));
                put("notification", notification_json(&Notification::from(error)));
                put("octets", hex(octets).into());
            }
        }
    }
}

fn verdict(message: &Message) -> &'static str {
    match message {
        Message::Update(update) => update.strongest_error().map_or("fine", |e| e.severity().as_str()),
        _ => "fine",
    }
}

/// One line of digits for each message that it becomes.
fn reencoded(message: &Message, ctx: &Context) -> Vec<String> {
    let mut out = BytesMut::new();
    message.encode(ctx, &mut out);
    let (mut octets, mut lines) = (out.freeze(), Vec::new());
    while let Ok(Some(len)) = frame_len(&octets, ctx.max_len) {
        lines.push(hex(&octets.split_to(len)));
    }
    lines
}

fn open_json(open: &Open) -> Value {
    let capabilities: Vec<Value> = open.capabilities.iter().map(|c| json!({"code": c.code(), "text": c.to_string()})).collect();
    json!({"asn": open.asn, "my_as": open.my_as, "hold_time": open.hold_time, "router_id": open.router_id, "capabilities": capabilities})
}

fn update_json(update: &Update) -> Value {
    let mut object = Map::new();
    if let Some(family) = update.end_of_rib {
        object.insert("end_of_rib".into(), family.to_string().into());
    }
    let withdrawn: Vec<Value> = update.withdrawn.iter().flat_map(|set| set.iter()).map(|n| nlri_json(&n)).collect();
    object.insert("withdrawn".into(), withdrawn.into());
    let announced = update.announced.iter().map(|a| {
        let nlri: Vec<Value> = a.nlri.iter().map(|n| nlri_json(&n)).collect();
        json!({"nlri": nlri, "attributes": a.attrs.as_ref().map(|attrs| json!(attrs)), "treated_as_withdrawn": a.attrs.is_none()})
    });
    object.insert("announced".into(), announced.collect::<Vec<_>>().into());
    if let Some(errors) = &update.errors {
        object.insert("errors".into(), errors.iter().map(error_json).collect::<Vec<_>>().into());
    }
    Value::Object(object)
}

fn unread_json(unread: &Unread) -> Value {
    json!({"attribute": unread.code, "afi": unread.afi, "safi": unread.safi, "octets": unread.octets, "text": unread.to_string()})
}

fn nlri_json(nlri: &Nlri) -> Value {
    match nlri.path_id.0 {
        0 => nlri.net.to_string().into(),
        id => json!({"prefix": nlri.net.to_string(), "path_id": id}),
    }
}

fn error_json(error: &DecodeError) -> Value {
    let told = (error.severity() == Severity::Reset).then(|| Notification::from(error).to_string());
    json!({"severity": error.severity().as_str(), "text": error.to_string(), "rule": error.rule(), "offset": error.offset(),
        "attribute": error.attribute(), "notification": told})
}

fn notification_json(n: &Notification) -> Value {
    json!({"code": n.code, "subcode": n.subcode, "name": n.code_name(), "subcode_name": n.subcode_name(), "data": hex(&n.data), "text": n.shutdown_text()})
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|o| format!("{o:02x}")).collect()
}

/// `2026-11-21 20:00:01.123456 10.0.0.1:179 > 10.0.0.2:40000 `, as much of it as is known.
fn place(origin: &Origin) -> String {
    let mut text = String::new();
    if let Some(time) = origin.time {
        text.push_str(&crate::num::utc(time));
        text.push(' ');
    }
    if let (Some(from), Some(to)) = (origin.from, origin.to) {
        text.push_str(&format!("{from} > {to} "));
    }
    if let Some(peer) = &origin.peer {
        text.push_str(&format!("peer {peer} "));
    }
    if let Some(offset) = origin.offset {
        text.push_str(&format!("at {offset} "));
    }
    text
}
