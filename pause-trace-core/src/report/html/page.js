"use strict";
// Draws the report from the JSON in the page. Names that a pod can choose become text, and never markup: `el` creates
// all nodes. The details of a pod are drawn when they are opened, so that a page with a thousand pods stays fast.

const data = JSON.parse(document.getElementById("data").textContent);
const KINDS = ["net", "ipc", "uts", "pid", "user", "mnt", "cgroup"];
const byId = (id) => document.getElementById(id);

/** An element with a class, and children that are text or elements. */
function el(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  for (const child of children) made.append(child instanceof Node ? child : document.createTextNode(String(child)));
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A number of nanoseconds in a suitable unit. */
function span(ns) {
  const size = Math.abs(ns);
  if (size < 1e3) return `${ns} ns`;
  if (size < 1e6) return `${(ns / 1e3).toFixed(0)} µs`;
  if (size < 1e9) return `${(ns / 1e6).toFixed(size < 1e7 ? 1 : 0)} ms`;
  if (size < 6e11) return `${(ns / 1e9).toFixed(2)} s`;
  return size < 3.6e13 ? `${(ns / 6e10).toFixed(0)} min` : `${(ns / 3.6e12).toFixed(1)} h`;
}

/** Time of day (UTC) of a time in ns since the beginning. */
const clock = (ns) => new Date(data.began_ms + ns / 1e6).toISOString().slice(11, 23);

function counts(verdicts) {
  const list = el("span");
  const add = (count, word, className) => count && list.append(el("span", className, `${count} ${word} `));
  add(verdicts.fail, "failed", "bad");
  add(verdicts.inconclusive, "inconclusive", "doubt");
  add(verdicts.pass, "passed", "good");
  if (!list.hasChildNodes()) list.append(el("span", "dim", "not judged"));
  return list;
}

function table(head, rows) {
  const body = el("tbody", "", ...rows.map((row) => el("tr", "", ...row.map((cell) => (cell instanceof Node && cell.tagName === "TD" ? cell : el("td", "", cell))))));
  const titles = head.map((title) => { const made = el("th", "", title); made.scope = "col"; return made; });
  return el("div", "wide", el("table", "", el("thead", "", el("tr", "", ...titles)), body));
}

function matrix(pod) {
  const pause = pod.containers.filter((container) => container.is_pause).at(-1);
  const all = pod.containers.filter((container) => Object.keys(container.namespaces).length);
  const cell = (kind, container) => {
    const inode = container.namespaces[kind];
    const isHost = inode === pod.host[kind];
    const isPods = pause && container !== pause && inode === pause.namespaces[kind];
    const word = isHost ? "host's" : isPods ? "the pause's" : "own";
    return el("td", isHost ? "host" : isPods ? "pod" : "own", `${inode} ${word}`);
  };
  const title = (container) => `${container.name || container.id.slice(0, 12)}${container.ended === null ? "" : " (ended)"}`;
  const rows = KINDS.map((kind) => [el("td", "", kind), el("td", "host", pod.host[kind] ?? ""), ...all.map((container) => cell(kind, container))]);
  return table(["namespace", "host", ...all.map(title)], rows);
}

const STATES = { runs: "good", zombie: "bad", ended: "dim", unknown: "doubt" };

/** Whether a process runs, and how it ended. */
function ending(process) {
  if (process.state === "runs") return "still runs";
  if (process.state === "unknown") return "no record shows its end, and the pod was removed";
  if (process.ended === null) return "ended: reaped, its exit was not recorded";
  const end = `${process.status} after ${span(process.ended - process.forked)}`;
  return process.state === "zombie" ? `ended: ${end}, still a zombie` : `ended: ${end}, reaped after ${span(process.reaped - process.ended)}`;
}

function tree(pod) {
  const children = new Map();
  pod.processes.forEach((process, index) => {
    const parent = process.parent ?? -1;
    children.set(parent, [...(children.get(parent) ?? []), index]);
  });
  const list = (indices, depth) => el("ul", depth ? "" : "tree", ...indices.map((index) => {
    const process = pod.processes[index];
    const line = el("li", `mono ${process.state}`, el("strong", "", process.comm), ` pid ${process.pid} (NSpid ${process.ns_pid}) `, el("span", "dim", [process.role, process.file].filter(Boolean).join(" · ")), " ", el("span", STATES[process.state], ending(process)));
    const below = children.get(index);
    if (below && depth < 40) line.append(list(below, depth + 1));
    return line;
  }));
  return list(children.get(-1) ?? [], 0);
}

/** How the pod started, as pause-trace computed it: what the start waited for, and its elements as bars of one scale. */
function waterfall(start) {
  const whole = Math.max(start.until - start.began, 1);
  const share = (ns) => Math.min(Math.max((ns - start.began) / whole, 0), 1) * 100;
  const bar = (one) => {
    const open = one.end === null || one.end > start.until;
    const made = el("span", `bar w-${one.kind}${open ? " open" : ""}${one.failed ? " failed" : ""}`);
    made.style.left = `${share(one.at)}%`;
    made.style.width = `${share(one.end ?? start.until) - share(one.at)}%`;
    made.title = `${one.text}, at +${span(one.at - start.began)}${one.end === one.at ? "" : one.end === null ? ", not ended" : `, ${span(one.end - one.at)}`}`;
    return made;
  };
  const took = (one) => (one.end === null ? "not ended" : one.end === one.at ? "" : span(one.end - one.at));
  const row = (one) => el("li", one.failed ? "bad" : "", el("span", "at", `+${span(one.at - start.began)}`), el("span", "took", took(one)), el("span", "what", one.text), el("span", "lane", bar(one)));
  const made = el("div", "start", el("p", "", start.sentence));
  if (start.path.length) made.append(el("p", "dim", "What the start waited for:"), el("div", "lane path", ...start.path.map((step) => { const drawn = bar(step); drawn.append(step.text); return drawn; })));
  const head = el("li", "dim head", el("span", "at", "at"), el("span", "took", "took"), el("span", "what", "what"), el("span", "lane scale", el("span", "", "0"), el("span", "", span(whole))));
  made.append(el("ol", "fall mono", head, ...start.bars.map(row)));
  if (start.omitted) made.append(el("p", "doubt", `${start.omitted} more elements are not shown; pause-trace timeline shows them`));
  made.append(...start.doubts.map((doubt) => el("p", "doubt", doubt)), el("p", "dim", start.listening));
  return made;
}

const LANE = 26, LEFT = 150, WIDTH = 1000, TOP = 24;

/** The timeline: bars in lanes. The wheel with Ctrl, the buttons and the keys +, -, arrows and 0 change the visible part. */
function timeline(pod) {
  const last = (bar) => bar.end_ns ?? data.ended;
  const first = Math.min(...pod.spans.map((bar) => bar.start_ns));
  const end = Math.max(...pod.spans.map(last), first + 1);
  const lanes = [...new Set(pod.spans.map((bar) => bar.lane))];
  const height = TOP + lanes.length * LANE + 6;
  const picture = svg("svg", { viewBox: `0 0 ${LEFT + WIDTH} ${height}`, role: "group", tabindex: 0 });
  picture.setAttribute("aria-label", "Timeline. Plus and minus zoom, arrows move, 0 shows everything.");
  const caption = el("p", "caption mono dim", "Point at a bar, or move to it with Tab.");
  const margin = (end - first) * 0.02 || 1;
  let view = [first - margin, end + margin];

  const draw = () => {
    picture.replaceChildren();
    const [from, to] = view;
    const x = (ns) => LEFT + ((ns - from) / (to - from)) * WIDTH;
    const step = 10 ** Math.floor(Math.log10((to - from) / 4));
    const nice = [1, 2, 5].map((by) => by * step).find((by) => (to - from) / by <= 8) ?? 10 * step;
    for (let at = first + Math.ceil((from - first) / nice) * nice; at <= to; at += nice) {
      picture.append(svg("line", { class: "tick", x1: x(at), x2: x(at), y1: TOP - 4, y2: height }));
      const label = svg("text", { class: "label", x: x(at) + 3, y: 14 });
      label.textContent = `${at < first ? "−" : "+"}${span(Math.abs(at - first))}`;
      picture.append(label);
    }
    for (const bar of pod.spans) {
      const left = Math.max(x(bar.start_ns), LEFT), right = Math.min(x(last(bar)), LEFT + WIDTH);
      if (right < LEFT || left > LEFT + WIDTH) continue;
      const y = TOP + lanes.indexOf(bar.lane) * LANE + 4;
      const isMark = bar.end_ns === bar.start_ns;
      const rect = svg("rect", { class: `k-${bar.kind}`, x: isMark ? left - 2 : left, y, width: Math.max(right - left, 4), height: LANE - 8, rx: 2, tabindex: 0 });
      const lasted = isMark ? "" : bar.end_ns === null ? ", not ended" : `, ${span(bar.end_ns - bar.start_ns)}`;
      const words = `${bar.lane}: ${bar.name} at ${clock(bar.start_ns)}${lasted}`;
      rect.setAttribute("aria-label", words);
      const title = svg("title", {});
      title.textContent = words;
      rect.append(title);
      const describe = () => { caption.textContent = words; };
      rect.addEventListener("pointerenter", describe);
      rect.addEventListener("focus", describe);
      picture.append(rect);
    }
    lanes.forEach((lane, index) => {
      picture.append(svg("rect", { x: 0, y: TOP + index * LANE, width: LEFT - 4, height: LANE, style: "fill: var(--soft)" }));
      const label = svg("text", { x: 6, y: TOP + index * LANE + 17 });
      label.textContent = lane.length > 19 ? `${lane.slice(0, 18)}…` : lane;
      picture.append(label);
    });
  };
  const zoom = (by, around = (view[0] + view[1]) / 2) => {
    const width = (view[1] - view[0]) * by;
    if (width < 100 || width > 10 * (end - first + 2 * margin)) return;
    view = [around - (around - view[0]) * by, around + (view[1] - around) * by];
    draw();
  };
  const move = (by) => { const width = view[1] - view[0]; view = view.map((at) => at + by * width); draw(); };
  const all = () => { view = [first - margin, end + margin]; draw(); };
  picture.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = picture.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * (LEFT + WIDTH) - LEFT) / WIDTH;
    zoom(event.deltaY < 0 ? 0.8 : 1.25, view[0] + Math.max(share, 0) * (view[1] - view[0]));
  }, { passive: false });
  const keys = { "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1.4), ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), 0: all };
  picture.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (act && !event.ctrlKey && !event.metaKey) { event.preventDefault(); act(); picture.focus(); }
  });
  const button = (label, title, act) => { const made = el("button", "", label); made.type = "button"; made.title = title; made.setAttribute("aria-label", title); made.addEventListener("click", act); return made; };
  draw();
  const tools = el("p", "tools", button("+", "Zoom in", () => zoom(0.7)), button("−", "Zoom out", () => zoom(1.4)), button("←", "Earlier", () => move(-0.2)), button("→", "Later", () => move(0.2)), button("all", "Show all", all));
  return el("div", "", tools, picture, caption);
}

const isBad = (one) => one.verdict === "fail" && one.severity === "error";
const word = (one) => (one.verdict === "fail" ? one.severity : "inconclusive");

/** Findings by rule, the worst rule first: [rule, its findings]. */
function byRule(findings) {
  const found = new Map();
  for (const one of findings) found.set(one.rule, [...(found.get(one.rule) ?? []), one]);
  const worst = (list) => Math.max(...list.map((one) => (one.planted ? 0 : one.verdict !== "fail" ? 1 : { info: 2, warning: 3, error: 4 }[one.severity])));
  return [...found].sort(([rule, list], [other, others]) => worst(others) - worst(list) || (rule < other ? -1 : 1));
}

/** `2 error, 1 inconclusive`. */
function tally(findings) {
  const found = new Map();
  for (const one of findings) found.set(one.planted ? "injected" : word(one), (found.get(one.planted ? "injected" : word(one)) ?? 0) + 1);
  return [...found].map(([name, count]) => `${count} ${name}`).join(", ");
}

function explanation(id) {
  const doc = data.rules[id]?.doc;
  return doc ? el("details", "", el("summary", "", `What ${id} checks, why it matters, how to fix it`), el("div", "body", el("pre", "", doc))) : "";
}

/** The findings of one rule on one pod, or on the node. */
function ruleOf([id, findings]) {
  const name = data.rules[id]?.name ?? "";
  const one = (found) => {
    const planted = found.planted ? el("span", "dim", " injected by the scenario") : "";
    const head = el("p", "", el("strong", isBad(found) ? "bad" : "doubt", `${id} ${name} · ${word(found)}`), ` ${found.subject}`, planted);
    const made = el("div", "", head, el("p", "", found.message));
    const values = [...new Set([...Object.keys(found.expected), ...Object.keys(found.observed)])];
    if (values.length) made.append(table(["", "expected", "observed"], values.map((key) => [key, found.expected[key] ?? "", found.observed[key] ?? ""])));
    const steps = found.evidence.map(([at, what]) => [clock(at), span(at - found.at), what]);
    if (steps.length) made.append(table(["time", "before", "evidence"], steps));
    return made;
  };
  return el("div", "", ...findings.map(one), explanation(id));
}

const SHOWN = 100;

/** A rule with all its findings, and the pods that they are on. */
function ruleLine([id, found]) {
  const findings = found.map(({ one }) => one);
  const pods = new Set(found.map(({ line }) => line).filter(Boolean)).size;
  const where = pods ? ` in ${pods} ${pods === 1 ? "pod" : "pods"}` : "";
  const summary = el("summary", "", el("strong", findings.some(isBad) ? "bad" : "doubt", `${id} ${data.rules[id]?.name ?? ""}`), ` ${tally(findings)}${where} `, el("span", "dim", data.rules[id]?.summary ?? ""));
  const made = el("details", "rule", summary);
  const row = ({ one, line }) => {
    const go = el("button", "", line ? line.name : "the node");
    go.type = "button";
    go.addEventListener("click", () => {
      if (line) { line.made.hidden = false; line.made.open = true; }
      (line ? line.made : byId("node")).scrollIntoView();
    });
    return el("li", "", go, ` ${one.message}${one.planted ? " (injected by the scenario)" : one.verdict === "fail" ? "" : " (inconclusive)"}`);
  };
  made.addEventListener("toggle", () => {
    if (!made.open || made.childElementCount > 1) return;
    const more = found.length - SHOWN;
    made.append(el("div", "body", el("ul", "", ...found.slice(0, SHOWN).map(row)), more > 0 ? el("p", "doubt", `${more} more; each pod shows its own`) : "", explanation(id)));
  });
  return made;
}

function details(pod) {
  const body = el("div", "body", el("p", "dim mono", `uid ${pod.uid}${pod.scenario ? ` · scenario ${pod.scenario}` : ""}`));
  const part = (title, made) => body.append(el("h3", "", title), made);
  if (pod.findings.length) part("Findings", el("div", "", ...byRule(pod.findings).map(ruleOf)));
  part("Start", pod.start ? waterfall(pod.start) : el("p", "dim", "the pod started before pause-trace: its start was not observed"));
  part("Namespaces", matrix(pod));
  if (pod.spans.length) part("Timeline", timeline(pod));
  part(`Processes (${pod.processes.length}${pod.omitted ? `, and ${pod.omitted} processes or signals that are not shown` : ""})`, tree(pod));
  const named = (id) => pod.containers.find((container) => container.id === id)?.name || id.slice(0, 12);
  if (pod.listens.length) part("Listening on TCP", table(["time", "container", "address", "process"], pod.listens.map((one) => [clock(one.at), named(one.container), `${one.address.includes(":") ? `[${one.address}]` : one.address}:${one.port ?? "?"}`, one.by])));
  if (pod.signals.length) part("Signals", table(["time", "signal", "from", "to", "result"], pod.signals.map((signal) => [clock(signal.at), signal.signal, signal.from, signal.to, signal.handled ? "taken by a handler" : signal.result])));
  const zombies = pod.zombies.filter(([, count], index) => count > 1 || (pod.zombies[index - 1]?.[1] ?? 0) > 1);
  if (zombies.length) part("Zombies", table(["time", "waiting to be reaped"], zombies.map(([at, count]) => [clock(at), count])));
  const passed = Object.entries(pod.passed).map(([rule, count]) => `${rule} ×${count}`).join(", ");
  if (passed) part("Passed", el("p", "mono", passed));
  return body;
}

function podLine(pod, index) {
  const name = pod.name ? `${pod.namespace}/${pod.name}` : `pod ${pod.uid}`;
  const rules = byRule(pod.findings.filter((one) => !one.planted)).map(([id, found]) => {
    const failed = found.filter((one) => one.verdict === "fail");
    const shown = failed.length ? failed : found;
    return el("span", failed.some(isBad) ? "bad" : "doubt", `${failed.length ? "" : "?"}${id}${shown.length > 1 ? `×${shown.length}` : ""} `);
  });
  const line = el("summary", "", el("span", "name", name), " ", counts(pod.verdicts), ...rules, el("span", "dim", ` ${clock(pod.since)}${pod.removed === null ? "" : `, removed after ${span(pod.removed - pod.since)}`}`));
  const made = el("details", "pod", line);
  made.id = `pod-${index}`;
  made.addEventListener("toggle", () => {
    if (made.open && made.childElementCount === 1) made.append(details(pod));
  });
  const words = [name, pod.uid, pod.scenario ?? "", ...pod.findings.map((one) => `${one.rule} ${data.rules[one.rule]?.name}`)];
  return { made, pod, name, text: words.join(" ").toLowerCase() };
}

function start() {
  const { verdicts } = data;
  byId("about").append(`${data.version} · Linux ${data.kernel} ${data.arch} · ${data.began.slice(0, 19)}Z, ${span(data.ended)} · ${data.pods.length} ${data.pods.length === 1 ? "pod" : "pods"}`);
  byId("verdict").append(counts(verdicts));
  const notes = [...data.notes];
  if (data.lost) notes.push(`${data.lost} kernel records were lost: verdicts that depend on them are inconclusive`);
  if (data.omitted) notes.push(`${data.omitted} more pods are not shown`);
  byId("notes").append(...notes.map((note) => el("li", "doubt", note)));
  if (data.findings.length) {
    byId("node").hidden = false;
    byId("node").append(...byRule(data.findings).map(ruleOf));
  }
  const worst = (pod) => pod.verdicts.fail * 1e6 + pod.verdicts.inconclusive;
  const lines = data.pods.map(podLine).sort((one, other) => worst(other.pod) - worst(one.pod) || one.pod.since - other.pod.since);
  const found = [...data.findings.map((one) => ({ ...one, one, line: null })), ...lines.flatMap((line) => line.pod.findings.map((one) => ({ ...one, one, line })))];
  if (found.length) {
    byId("rules").hidden = false;
    byId("rules").append(...byRule(found).map(ruleLine));
  }
  byId("pods").append(...lines.map((line) => line.made));
  const filter = () => {
    const wanted = byId("find").value.trim().toLowerCase();
    let shown = 0;
    for (const line of lines) {
      const fits = line.text.includes(wanted) && (!byId("broken").checked || line.pod.findings.length > 0);
      line.made.hidden = !fits;
      shown += fits;
    }
    byId("count").textContent = shown === lines.length ? "" : `${shown} of ${lines.length}`;
  };
  byId("find").addEventListener("input", filter);
  byId("broken").addEventListener("change", filter);
  // `#find=TEXT` in the address sets the filter. A single match is opened.
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.has("find")) { byId("find").value = fragment.get("find"); filter(); }
  const fitting = lines.filter((line) => !line.made.hidden);
  if (fitting.length === 1) fitting[0].made.open = true;
  document.documentElement.dataset.state = "drawn";
}

start();
