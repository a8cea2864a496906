"use strict";
// The page works without this script but for sorting, copying, the graph and the readings of the curves.
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const json = (id) => { const found = document.getElementById(id); return found && JSON.parse(found.textContent); };
// Text from the model is only ever set as text, never as HTML.
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== ""));
  return element;
};

function copies() {
  const said = $("#copied");
  let hiding;
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // In a frame, or where the page is not trusted with the clipboard: by a selection.
      const field = make("textarea", { value: text });
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    said.textContent = `copied: ${text}`;
    said.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { said.hidden = true; }, 1800);
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) { event.stopPropagation(); copy(button.dataset.copy); }
  }, true);
  $$("td .copy").forEach((button) => labelled(button, $("code", button.parentElement).textContent));
}
const labelled = (button, text) => {
  button.dataset.copy = button.title = text;
  button.setAttribute("aria-label", `copy ${text}`);
  return button;
};
const copyButton = (text) => labelled(make("button", { type: "button", className: "copy", textContent: "copy" }), text);

function layers() {
  const table = $(".fxbin-layers table");
  if (!table) return;
  const body = $("tbody", table), heads = $$("th", table), choice = $("#sort");
  const rows = $$("tr", body);
  const valueOf = (row, column) => {
    const cell = row.cells[column], value = cell.dataset.v ?? cell.textContent;
    return value !== "" && !Number.isNaN(+value) ? +value : value;
  };
  const sort = (column, isDown) => {
    const keyed = rows.map((row, index) => [valueOf(row, column), index, row]);
    keyed.sort(([a, i], [b, j]) => {
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return (isDown ? -order : order) || i - j;
    });
    body.append(...keyed.map(([, , row]) => row));
    heads.forEach((head, index) => head.setAttribute("aria-sort", index !== column ? "none" : isDown ? "descending" : "ascending"));
    choice.value = column;
  };
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    const numbers = rows.length > 0 && typeof valueOf(rows[0], column) === "number" && column > 0;
    const pressed = () => {
      const now = head.getAttribute("aria-sort");
      // Numbers start with the largest: one looks for what costs most.
      sort(column, now === "none" ? numbers : now === "ascending");
    };
    head.addEventListener("click", pressed);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pressed(); } });
    choice.append(make("option", { value: column, textContent: head.textContent }));
    choice.addEventListener("change", () => { if (+choice.value === column) sort(column, numbers); });
  });
  const find = $("#find"), kind = $("#kind"), count = $("#count");
  const filter = () => {
    const words = find.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const text = `${row.title} ${row.textContent}`.toLowerCase();
      row.hidden = !text.includes(words) || (kind.value !== "" && row.dataset.binarized !== kind.value);
      row.style.display = row.hidden ? "none" : "";
      shown += !row.hidden;
    }
    count.textContent = shown === rows.length ? `${shown} layers` : `${shown} of ${rows.length} layers`;
  };
  find.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  count.textContent = `${rows.length} layers`;
}

function curves() {
  const data = json("epochs");
  if (!data) return;
  const number = (value) => value === null ? "–" : typeof value === "string" ? value : String(+value.toPrecision(4));
  $$(".chart").forEach((chart, index) => {
    const plot = $(".plot", chart), cursor = $(".cursor", chart), readout = $(".readout", chart);
    const show = (event) => {
      const box = plot.getBoundingClientRect(), count = data.stages.length;
      const at = Math.min(count - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * count)));
      cursor.setAttribute("d", `M${at + .5} 0V100`);
      cursor.style.visibility = "visible";
      const values = data.charts[index].map(([label, curve]) => `${label} ${number(curve[at])}`);
      readout.textContent = [`epoch ${data.numbers[at]}`, at === data.best && "in best.pt", data.stages[at], ...values].filter(Boolean).join(" · ");
    };
    plot.addEventListener("pointermove", show);
    plot.addEventListener("pointerdown", show);
    plot.addEventListener("pointerleave", () => { cursor.style.visibility = "hidden"; readout.textContent = ""; });
  });
}

// The graph: one row for each operator or folded module, in execution order, and rails that carry the tensors,
// as a version history is drawn. So it needs no layout that grows worse with the model, and fits a phone.
const ROW = 30, SHOWN = 36;

function callTree(data) {
  const root = { scope: -1, first: 0, last: data.nodes.length - 1, parent: null, children: [], depth: 0 };
  const chain = (scope) => { const found = []; for (let s = scope; s >= 0; s = data.scopes[s][0]) found.unshift(s); return found; };
  let open = [root];
  data.nodes.forEach((node, index) => {
    const scopes = chain(node[0]);
    let depth = 0;
    while (depth < scopes.length && depth + 1 < open.length && open[depth + 1].scope === scopes[depth]) depth++;
    open.length = depth + 1;
    for (; depth < scopes.length; depth++) {
      const call = { scope: scopes[depth], first: index, last: index, parent: open[depth], children: [], depth: depth + 1, isOpen: false };
      open[depth].children.push(call);
      open.push(call);
    }
    open.forEach((call) => { call.last = Math.max(call.last, index); });
    open[open.length - 1].children.push(index);
  });
  root.isOpen = true;
  return root;
}

function graph() {
  const data = json("graph-data");
  if (!data) return;
  const box = $(".graph"), detail = $(".detail"), root = callTree(data);
  const calls = [];
  const walk = (call) => { calls.push(call); call.children.forEach((child) => { if (typeof child === "object") walk(child); }); };
  walk(root);
  const visible = () => {
    const found = [];
    const add = (item, above) => {
      if (typeof item === "number") found.push({ node: item, above });
      else if (item.first === item.last) found.push({ node: item.first, above: [...above, ...single(item)] });
      else if (!item.isOpen) found.push({ call: item, above });
      else { if (item !== root) found.push({ call: item, above, isHead: true }); item.children.forEach((child) => add(child, [])); }
    };
    const single = (call) => [data.scopes[call.scope][1], ...call.children.flatMap((child) => typeof child === "object" ? single(child) : [])];
    add(root, []);
    return found;
  };
  const unfoldTo = (depth) => calls.forEach((call) => { call.isOpen = call === root || call.depth < depth; });
  // As deep as still fits a screen.
  for (let depth = 1; depth < 20; depth++) {
    unfoldTo(depth);
    if (visible().length > SHOWN) { unfoldTo(Math.max(1, depth - 1)); break; }
  }
  let level = Math.max(1, ...calls.filter((call) => call.isOpen).map((call) => call.depth + 1));
  const convs = (call) => {
    let all = 0, one = 0;
    for (let index = call.first; index <= call.last; index++) {
      const kind = data.kinds[data.nodes[index][1]];
      one += kind === "binarized_conv2d";
      all += kind === "binarized_conv2d" || kind === "full_precision_conv2d";
    }
    return [one, all];
  };
  const scopeName = (scope) => { const found = []; for (let s = scope; s >= 0; s = data.scopes[s][0]) found.unshift(data.scopes[s][1]); return [data.root, ...found].join("/"); };
  const nameOf = (node) => node[3] || `${scopeName(node[0])}/${node[2]}`;
  // A folded module without a name of its own in PyTorch is selected by an expression.
  const entryOf = (row) => {
    if (row.call) return data.scopes[row.call.scope][2] || `{re}^${scopeName(row.call.scope).replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}/`;
    const node = data.nodes[row.node];
    return node[4] === 1 ? data.scopes[node[0]][2] : node[4] || nameOf(node);
  };

  function rails(rows) {
    const rowOf = new Array(data.nodes.length).fill(-1);
    rows.forEach((row, index) => {
      if (row.isHead) return;
      if (row.call) for (let node = row.call.first; node <= row.call.last; node++) rowOf[node] = index;
      else rowOf[row.node] = index;
    });
    const sources = rows.map(() => new Set()), lastUse = new Array(rows.length).fill(-1);
    data.nodes.forEach((node, index) => node[7].forEach((source) => {
      const [from, to] = [rowOf[source], rowOf[index]];
      if (from !== to) { sources[to].add(from); lastUse[from] = Math.max(lastUse[from], to); }
    }));
    const lane = [], taken = [], paths = [];
    let lanes = 1;
    rows.forEach((row, index) => {
      if (row.isHead) return;
      const ended = [...sources[index]].filter((from) => lastUse[from] === index).map((from) => lane[from]);
      ended.forEach((ending) => { taken[ending] = false; });
      let own = ended.length ? Math.min(...ended) : 0;
      while (taken[own]) own++;
      lane[index] = own;
      taken[own] = lastUse[index] > index;
      lanes = Math.max(lanes, own + 1);
    });
    const gap = Math.max(4, Math.min(14, 150 / lanes));
    const x = (number) => 8 + number * gap, y = (index) => index * ROW + ROW / 2;
    rows.forEach((row, from) => {
      if (row.isHead || lastUse[from] < 0) return;
      const straight = lane[lastUse[from]] === lane[from] ? y(lastUse[from]) : y(lastUse[from]) - ROW;
      if (straight > y(from)) paths.push(`M${x(lane[from])} ${y(from)}V${straight}`);
    });
    sources.forEach((set, to) => set.forEach((from) => {
      if (lane[from] === lane[to] && lastUse[from] === to) return;
      const [a, b, bottom] = [x(lane[from]), x(lane[to]), y(to)];
      paths.push(`M${a} ${bottom - ROW}C${a} ${bottom - ROW / 3} ${b} ${bottom - ROW * 2 / 3} ${b} ${bottom}`);
    }));
    return { path: paths.join(""), lane, x, y, width: x(lanes) + 4 };
  }

  function draw(keep) {
    const rows = visible(), drawn = rails(rows), ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    svg.setAttribute("width", drawn.width);
    svg.setAttribute("height", rows.length * ROW);
    svg.setAttribute("aria-hidden", "true");
    const add = (tag, attributes) => {
      const element = document.createElementNS(ns, tag);
      Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
      svg.append(element);
    };
    add("path", { d: drawn.path });
    const list = document.createDocumentFragment();
    rows.forEach((row, index) => {
      const line = make("div", { className: `row${row.call ? " module" : ""}`, tabIndex: -1 });
      const depth = row.call ? row.call.depth - 1 : depthOf(data.nodes[row.node][0]) - row.above.length;
      line.style.paddingLeft = `calc(${drawn.width}px + ${Math.min(depth, 6) * .9}rem + .6rem)`;
      line.dataset.entry = entryOf(row);
      if (row.call) {
        const [one, all] = convs(row.call), [x, y] = [drawn.x(drawn.lane[index]), drawn.y(index)];
        const kind = all === 0 ? "" : one === all ? "all" : one ? "some" : "none";
        if (!row.isHead) add("rect", { x: x - 5, y: y - 5, width: 10, height: 10, rx: 2, class: kind });
        const count = row.call.last - row.call.first + 1;
        const said = all ? `${one} of ${all} conv2d in 1 bit` : `${count} operators`;
        line.setAttribute("aria-expanded", String(Boolean(row.isHead)));
        line.append(make("span", { className: "label" }, make("span", { className: "arrow", textContent: row.isHead ? "▾" : "▸" }), data.scopes[row.call.scope][1], " ", make("small", { textContent: said })));
      } else {
        const [, kind, own, , , , reason] = data.nodes[row.node];
        add("circle", { cx: drawn.x(drawn.lane[index]), cy: drawn.y(index), r: 5, class: data.kinds[kind] });
        const label = make("span", { className: "label" }, make("span", { className: "arrow" }), row.above.length ? `${row.above.join("/")} ` : "", row.above.length ? make("small", { textContent: own }) : own);
        if (reason) label.append(" ", make("small", { className: "why", textContent: reason }));
        line.append(label);
      }
      const node = row.call ? data.nodes[row.call.last] : data.nodes[row.node];
      if (!row.isHead) line.append(make("span", { className: "shape", textContent: node[5] }));
      line.append(copyButton(line.dataset.entry));
      line.addEventListener("click", () => {
        select(row, line);
        if (row.call) { row.call.isOpen = !row.call.isOpen; draw(true); }
      });
      list.append(line);
    });
    const top = box.scrollTop;
    box.replaceChildren(svg, list);
    if (keep) box.scrollTop = top;
  }
  const depths = data.scopes.map(() => 0);
  data.scopes.forEach(([above], index) => { depths[index] = above < 0 ? 1 : depths[above] + 1; });
  const depthOf = (scope) => scope < 0 ? 0 : depths[scope];

  function select(row, line) {
    $$(".row.selected", box).forEach((other) => other.classList.remove("selected"));
    line.classList.add("selected");
    const pairs = [];
    if (row.call) {
      const [one, all] = convs(row.call);
      pairs.push(["module", scopeName(row.call.scope), false], ["conv2d", `${one} of ${all} in 1 bit`, false], ["for ignored_scopes", entryOf(row), true]);
    } else {
      const [, kind, , , entry, shape, reason] = data.nodes[row.node];
      pairs.push(["name", nameOf(data.nodes[row.node]), true]);
      if (entry) pairs.push(["for ignored_scopes", entryOf(row), true]);
      pairs.push(["kind", data.kinds[kind].replaceAll("_", " "), false], ["output", shape || "–", false]);
      if (reason) pairs.push(["full precision", reason, false]);
    }
    const list = make("dl");
    pairs.forEach(([title, value, copied]) => {
      const shown = make("dd", {}, make("code", { textContent: value }));
      if (copied) shown.append(copyButton(value));
      list.append(make("dt", { textContent: title }), shown);
    });
    detail.replaceChildren(list);
  }
  const change = (to) => { level = to; unfoldTo(to); draw(true); };
  $("#fold").addEventListener("click", () => change(1));
  $("#unfold").addEventListener("click", () => change(level + 1));
  $("#unfold-all").addEventListener("click", () => change(99));
  box.addEventListener("keydown", (event) => {
    const all = $$(".row", box), at = all.indexOf(document.activeElement);
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves) { event.preventDefault(); all[Math.min(all.length - 1, Math.max(0, at + moves[event.key]))]?.focus(); }
    if (event.key === "Enter" && at >= 0) { all[at].click(); $$(".row", box)[at]?.focus(); }
  });
  draw(false);
}

copies();
layers();
curves();
graph();
document.documentElement.dataset.ready = "yes";
