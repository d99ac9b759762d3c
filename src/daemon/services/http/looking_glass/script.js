// The looking glass: asks the router under v1/ and shows what it says. Whatever comes from there is written as text, never as markup.
'use strict';

const SHOWN = 200; // rows of a table at most
const EVENTS = 100; // events that are kept
const LOOK = 5000; // milliseconds between two looks

const $ = (id) => document.getElementById(id);

/** An element with text and children. */
function el(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

function classed(made, ...names) {
  made.classList.add(...names.filter(Boolean));
  return made;
}

/** `3d04h`, `2h05m`, `4m10s`, `12s` */
function duration(seconds) {
  const s = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, '0');
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h${two(Math.floor((s % 3600) / 60))}m`;
  return `${Math.floor(s / 86400)}d${two(Math.floor((s % 86400) / 3600))}h`;
}

async function ask(path) {
  const response = await fetch(path, { cache: 'no-store' });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error || `the router answered ${response.status}`);
  return body;
}

/** A row of a table; each cell knows its column's title, for narrow screens. */
function row(titles, cells) {
  const made = el('tr');
  cells.forEach((cell, n) => {
    const td = cell instanceof Node ? el('td', null, cell) : el('td', cell);
    td.dataset.title = titles[n];
    if (typeof cell === 'number') td.classList.add('n');
    made.append(td);
  });
  return made;
}

function more(place, left, words) {
  place.hidden = left <= 0;
  place.textContent = left > 0 ? `and ${left} more; ${words}` : '';
}

// Sessions

let peers = [];
const PEER = ['Peer', 'Address', 'AS', 'State', 'Since', 'Received', 'Accepted', 'Advertised', 'Note'];
const up = (peer) => peer.state.toLowerCase() === 'established';
const sum = (peer, key) => peer.families.reduce((n, family) => n + family[key], 0);

function peerRow(peer) {
  const name = classed(el('button', peer.name), 'link');
  name.type = 'button';
  name.title = 'what it announced';
  name.addEventListener('click', () => showRoutes(peer.name));
  const state = classed(el('span', peer.state), up(peer) ? 'good' : peer.admin_up ? 'bad' : 'dim');
  const why = up(peer) ? peer.warnings.join('; ') : peer.why_down || '';
  const note = why ? classed(el('span', why), 'warn') : '';
  return row(PEER, [name, peer.address, peer.remote_as === null ? '' : String(peer.remote_as), state, duration(peer.state_seconds),
    sum(peer, 'received'), sum(peer, 'accepted'), sum(peer, 'advertised'), note]);
}

function showPeers() {
  const text = $('filter').value.toLowerCase();
  const fits = (peer) => !text || [peer.name, peer.address, peer.kind, String(peer.remote_as), peer.state].some((s) => s.toLowerCase().includes(text));
  const wanted = peers.filter((peer) => fits(peer) && !($('down').checked && up(peer)));
  wanted.sort((a, b) => up(a) - up(b) || a.name.localeCompare(b.name, 'en', { numeric: true }));
  $('peers').replaceChildren(...wanted.slice(0, SHOWN).map(peerRow));
  more($('more'), wanted.length - SHOWN, 'the filter finds them');
  $('count').textContent = `${peers.filter(up).length} of ${peers.length} up`;
}

// Routes of a session

const ROUTE = ['Prefix', 'Next hop', 'AS path', 'Pref', 'Communities', 'Verdict'];

function routeRow(route) {
  const net = classed(el('button', route.net), 'link');
  net.type = 'button';
  net.addEventListener('click', () => explain(route.net));
  const verdict = route.refused ? [route.refused, 'bad'] : !route.usable ? ['next hop unreachable', 'bad'] : route.best ? ['best', 'good'] : route.multipath ? ['shares the load', 'good'] : ['', ''];
  const communities = [...route.communities, ...route.large_communities, ...route.extended_communities].join(' ');
  return row(ROUTE, [net, route.next_hop || '', route.as_path || '', route.local_pref === null ? '' : route.local_pref, communities,
    verdict[0] ? classed(el('span', verdict[0]), verdict[1]) : '']);
}

async function showRoutes(peer) {
  $('routes').hidden = false;
  $('routes-title').textContent = `What ${peer} announced`;
  $('route-rows').replaceChildren();
  try {
    const routes = await ask(`v1/peers/${encodeURIComponent(peer)}/received`);
    $('route-rows').replaceChildren(...routes.slice(0, SHOWN).map(routeRow));
    more($('routes-more'), routes.length - SHOWN, 'search for a prefix to see one of them');
    if (routes.length === 0) $('route-rows').replaceChildren(el('tr', null, el('td', 'nothing')));
  } catch (error) {
    $('route-rows').replaceChildren(row(ROUTE, [error.message]));
  }
  $('routes').scrollIntoView({ behavior: 'smooth', block: 'nearest' });
}

// Why

const FATE = { best: 'good', shares: 'good', ineligible: 'bad', refused: 'bad', lost: '' };

function pathBlock(path) {
  const box = classed(el('div'), 'path', path.fate === 'best' ? 'best' : path.fate === 'refused' || path.fate === 'ineligible' ? 'refused' : '');
  box.append(el('p', null, el('strong', `from ${path.peer}`), ' ', classed(el('span', path.explanation || path.fate), FATE[path.fate] || 'dim')));
  const facts = [`AS path ${path.as_path || 'empty'}`, `origin ${path.origin}`];
  if (path.local_pref !== null) facts.push(`local pref ${path.local_pref}`);
  if (path.med !== null) facts.push(`MED ${path.med}`);
  box.append(classed(el('p', facts.join(', ')), 'dim'));
  const communities = [...path.communities, ...path.large_communities, ...path.extended_communities];
  if (communities.length) box.append(classed(el('p', `communities ${communities.join(' ')}`), 'dim'));
  if (path.next_hop) box.append(classed(el('p', `next hop ${path.next_hop}`), 'dim'));
  if (path.stale) box.append(classed(el('p', 'stale: its peer is away or restarted'), 'warn'));
  return box;
}

function told(exports) {
  const names = (announced) => exports.filter((row) => row.announced === announced).map((row) => row.peer);
  const list = (all) => (all.length > 6 ? `${all.slice(0, 6).join(', ')} and ${all.length - 6} more` : all.join(', '));
  const lines = [];
  if (names(true).length) lines.push(el('p', `told to ${list(names(true))}`));
  if (names(false).length) lines.push(classed(el('p', `not told to ${list(names(false))}`), 'dim'));
  return lines;
}

function explanation(why) {
  const parts = [el('h3', why.net)];
  if (why.from) parts.push(el('p', `ours, from ${why.from}`));
  if (why.paths.length === 0) parts.push(el('p', why.departed ? `nobody announces it; last from ${why.departed.peer}, until ${duration(why.departed.ago_seconds)} ago: ${why.departed.why}` : 'nobody announces it'));
  if (why.paths.length === 0 && why.covering.length) parts.push(el('p', `packets to it follow ${why.covering.join(', ')}`));
  if (why.longer.length) parts.push(el('p', `longer ones inside it: ${why.longer.join(', ')}`));
  parts.push(...why.paths.map(pathBlock));
  if (why.kernel) parts.push(el('p', `packets to ${why.kernel.address}: ${why.kernel.route}`));
  return parts.concat(told(why.exports));
}

async function explain(what) {
  const text = what.trim();
  $('what').value = text;
  const query = text.includes('/') ? `prefix=${encodeURIComponent(text)}` : `address=${encodeURIComponent(text)}`;
  const place = $('answer');
  place.hidden = false;
  try {
    place.replaceChildren(...explanation(await ask(`v1/why?${query}`)));
  } catch (error) {
    place.replaceChildren(classed(el('p', error.message), 'bad'));
  }
  location.replace(`#${encodeURIComponent(text)}`);
}

// Events

function happened(event) {
  const time = el('time', event.time.slice(11, 19));
  time.dateTime = event.time;
  const line = el('li', null, time, event.text);
  return classed(line, { warn: 'warn', error: 'bad', debug: 'dim' }[event.level]);
}

function follow() {
  const source = new EventSource('v1/events');
  let any = false;
  const show = (line) => {
    if (!any) $('events').replaceChildren();
    any = true;
    $('events').prepend(line);
    while ($('events').childElementCount > EVENTS) $('events').lastElementChild.remove();
  };
  source.addEventListener('open', () => { $('live').textContent = 'live'; });
  source.addEventListener('error', () => { $('live').textContent = 'not connected'; });
  source.addEventListener('message', (message) => show(happened(JSON.parse(message.data))));
  source.addEventListener('missed', (message) => show(classed(el('li', `${message.data} events were missed`), 'warn')));
}

// The head

async function look() {
  try {
    const [status, rows] = await Promise.all([ask('v1/status'), ask('v1/peers')]);
    document.title = `${status.name}: catbird`;
    $('name').textContent = status.name;
    const tables = status.tables.map((table) => `${table.prefixes} ${table.family} prefixes`).join(', ');
    const cluster = status.mode === 'none' ? '' : `${status.mode}, `;
    $('who').textContent = `AS ${status.asn}, router id ${status.router_id}, ${cluster}up ${duration(status.uptime_seconds)}${tables ? `; ${tables}` : ''}`;
    $('trouble').hidden = !status.draining;
    $('trouble').textContent = status.draining ? `This router is ${status.phase}.` : '';
    peers = rows;
    showPeers();
  } catch (error) {
    $('trouble').hidden = false;
    $('trouble').textContent = `The router cannot be asked: ${error.message}`;
  }
  setTimeout(look, document.hidden ? 6 * LOOK : LOOK);
}

$('search').addEventListener('submit', (event) => {
  event.preventDefault();
  explain($('what').value);
});
$('filter').addEventListener('input', showPeers);
$('down').addEventListener('change', showPeers);
look();
follow();
if (location.hash.length > 1) explain(decodeURIComponent(location.hash.slice(1)));
