"use strict";
// Feature cards: a list of modes that can be searched and sorted; a card is drawn when it is opened.
// Data reaches the page as text nodes alone, never as markup.
(() => {
  const host = document.querySelector(".cards");
  if (!host) return;
  const deck = JSON.parse(host.querySelector("script").textContent);
  const FIRST = 25, MORE = 50, LABELS = 6, WINDOWS = 5, LISTED = 6;

  // ---- arrays

  const KINDS = { f4: Float32Array, i1: Int8Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };
  const unpack = ({ dtype, data }) => {
    const binary = atob(data);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return new KINDS[dtype](bytes.buffer);
  };
  // part(layer, mode, ...) is what an array holds there; null where the run has no such array.
  const reader = (packed) => {
    if (!packed) return () => null;
    let all = null;
    const sizes = packed.shape.map((_, axis) => packed.shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    return (...places) => {
      all ??= unpack(packed);
      const start = places.reduce((sum, place, axis) => sum + place * sizes[axis], 0);
      return places.length === sizes.length ? all[start] : all.subarray(start, start + sizes[places.length - 1]);
    };
  };
  const readers = (record) => record && Object.fromEntries(
    Object.entries(record).map(([name, value]) => [name, value?.dtype || value === null ? reader(value) : value]),
  );
  const read = readers({
    values: deck.values, residuals: deck.residuals, errors: deck.residual_errors,
    converged: deck.converged, energy: deck.energy, effect: deck.effect,
  });
  const [labels, raised, lowered, histogram, examples] =
    [deck.labels, deck.raised, deck.lowered, deck.histogram, deck.examples].map(readers);
  const similarScores = readers(deck.similar_scores), similarDirections = readers(deck.similar_directions);
  const windowTokens = reader(deck.windows?.tokens);
  const known = (number) => number !== null && Number.isFinite(number);

  const modes = deck.layers.flatMap((name, layer) => Array.from({ length: deck.modes }, (_, mode) => ({
    layer, mode, id: `mode-${name}-${mode}`, name: `Layer ${name} · mode ${mode}`,
  })));
  const effectMeasured = modes.some(({ layer, mode }) => known(read.effect(layer, mode)));

  // ---- words and numbers

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const minus = (text) => text.replace("-", "−");
  const fixed = (number, digits = 3) => (known(number) ? minus(number.toFixed(digits)) : "not measured");
  const withSign = (number, size) => (known(number) ? (number < 0 && Number(size) ? "−" : "+") + size : "not measured");
  const signed = (number) => withSign(number, Math.abs(number).toFixed(2)); // "−4.27", "+0.10"
  const precise = (number, digits = 3) => withSign(number, String(Number(Math.abs(number).toPrecision(digits)))); // "+0.0234"
  const short = (number) => {
    if (!known(number)) return "not measured";
    const size = Math.abs(number);
    return minus(size !== 0 && (size >= 1e4 || size < 1e-2) ? number.toExponential(1) : String(Number(number.toPrecision(3))));
  };
  const pValue = (p) => (!known(p) ? "" : p < 0.001 ? "< 0.001" : fixed(p));
  const LEVEL = 0.05; // a corrected p above it is no finding
  const token = (place) => make("bdi", { class: "token" }, deck.tokens[place]);

  // ---- what a mode is about

  const aurocs = ({ layer, mode }) => labels?.auroc(layer, mode) ?? [];
  const ranked = (each) => [...aurocs(each).keys()].filter((i) => known(aurocs(each)[i])).sort((a, b) => aurocs(each)[b] - aurocs(each)[a]);
  for (const each of modes) each.ranked = ranked(each);
  const labelOf = (each) => (state.label >= 0 ? state.label : each.ranked[0]);
  const aurocOf = (each) => aurocs(each)[labelOf(each)] ?? NaN;
  const pOf = ({ layer, mode }, label) => labels?.p(layer, mode)?.[label] ?? NaN;
  const raisedBy = ({ layer, mode }) => [...(raised?.places(layer, mode) ?? [])];
  const loweredBy = ({ layer, mode }) => [...(lowered?.places(layer, mode) ?? [])];
  const windowsOf = ({ layer, mode }) => [...(examples?.windows(layer, mode) ?? [])];

  // ---- searching and sorting

  const state = { query: "", layer: -1, label: -1, sort: deck.labels ? "auroc" : "eigenvalue", shown: FIRST };
  const SORTS = {
    auroc: { name: "AUROC", of: aurocOf, offered: Boolean(deck.labels) },
    eigenvalue: { name: "eigenvalue", of: ({ layer, mode }) => read.values(layer, mode), offered: true },
    effect: { name: "causal effect", of: ({ layer, mode }) => read.effect(layer, mode), offered: effectMeasured },
    layer: { name: "layer and mode", of: ({ layer, mode }) => -(layer * deck.modes + mode), offered: true },
  };
  const descending = (key) => (a, b) => {
    const [x, y] = [key(a), key(b)];
    return known(x) && known(y) ? y - x : known(y) - known(x);
  };

  let windowTexts = null;
  const searchable = () => (windowTexts ??= (deck.windows?.number ?? []).map((_, place) => {
    const places = windowTokens(place);
    return places ? Array.from(places, (at) => deck.tokens[at]).join("").toLowerCase() : "";
  }));
  // For every kind of hit the places where the query occurs, found once for all modes.
  const hits = (query) => ({
    tokens: new Set(deck.tokens.flatMap((text, place) => (text.toLowerCase().includes(query) ? [place] : []))),
    words: new Set((deck.windows?.words ?? []).flatMap((word, place) => (word.toLowerCase().includes(query) ? [place] : []))),
    windows: new Set(searchable().flatMap((text, place) => (text.includes(query) ? [place] : []))),
  });
  const reasons = (each, query, found) => {
    const count = (places, among) => places.filter((place) => among.has(place)).length;
    const named = (verb, places) => {
      const first = places.find((place) => found.tokens.has(place));
      return first === undefined ? [] : [`${verb} “${deck.tokens[first].trim()}”`];
    };
    const texts = count(windowsOf(each), found.windows), words = count(windowsOf(each), found.words);
    const best = deck.labels?.names[each.ranked[0]];
    const own = [
      ...(each.id === query || each.name.toLowerCase().includes(query) ? [each.name] : []),
      ...(best?.toLowerCase().includes(query) ? [`best label ${best}`] : []),
      ...named("raises", raisedBy(each)),
      ...named("lowers", loweredBy(each)),
    ];
    each.fit = own.length ? 2 : Number(words > 0);
    return [
      ...own,
      ...(words ? [`next word of ${words} of its windows`] : []),
      ...(texts ? [`in the text of ${texts} of its windows`] : []),
    ];
  };
  const selected = () => {
    const query = state.query.trim().toLowerCase();
    const found = query && hits(query);
    const kept = modes.filter((each) => {
      each.fit = 0;
      each.why = query ? reasons(each, query, found) : [];
      return (state.layer < 0 || each.layer === state.layer) && (!query || each.why.length);
    });
    // What fits a mode's own tokens, label or name comes first, then next words, then texts; sorting is stable.
    return kept.sort(descending(SORTS[state.sort].of)).sort((a, b) => b.fit - a.fit);
  };

  // ---- a card

  const facts = ({ layer, mode }) => {
    const rows = [["Eigenvalue", short(read.values(layer, mode))]];
    const residual = read.residuals(layer, mode), error = read.errors(layer, mode), done = read.converged(layer, mode);
    if (residual !== null) rows.push(["Residual in the full kernel, estimated", fixed(residual) + (known(error) ? ` ± ${fixed(error)}` : "")]);
    if (done !== null) rows.push(["Converged in the compressed rows", done ? "yes" : "no"]);
    const energy = read.energy(layer, mode);
    if (known(energy)) rows.push(["Energy in its output direction", `${fixed(100 * energy, 1)} %`]);
    if (read.effect(layer, mode) !== null) rows.push(["Causal effect", short(read.effect(layer, mode))]);
    return make("dl", { class: "card-facts" }, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  };

  const movedTokens = (title, moved, { layer, mode }) => {
    const places = [...moved.places(layer, mode)], logits = moved.logits(layer, mode);
    const items = places.map((place, i) => make("li", {}, token(place), make("span", { class: "by" }, precise(logits[i], 2))));
    return make("div", {}, make("h4", {}, title), make("ul", { class: "moved" }, ...items));
  };
  const direction = (each) => make("div", { class: "card-direction" },
    ...(raised ? [movedTokens("Logits it raises, against the mean of all tokens", raised, each)] : []),
    ...(lowered ? [movedTokens("Logits it lowers, against that mean", lowered, each)] : []),
  );

  const bounded = Boolean(labels?.low(0, 0) && labels.high(0, 0));
  const small = (text) => make("small", {}, text);
  const interval = (at, i) => (bounded && known(labels.low(...at)[i]) ? [" ", small(`${fixed(labels.low(...at)[i])}–${fixed(labels.high(...at)[i])}`)] : []);
  // The columns of the labels' table: what the run holds of it.
  const COLUMNS = [
    { name: () => ["AUROC", ...(bounded ? [" ", small("95 % interval")] : [])], of: (at, i) => [fixed(labels.auroc(...at)[i]), ...interval(at, i)], held: labels?.auroc },
    { name: () => ["corrected p"], of: ([layer, mode], i) => [pValue(pOf({ layer, mode }, i))], held: labels?.p },
    { name: () => [make("abbr", { title: "average precision" }, "AP")], of: (at, i) => [fixed(labels.average_precision(...at)[i])], held: labels?.average_precision, lesser: true },
  ].filter(({ held }) => held?.(0, 0));
  const kind = ({ lesser }) => (lesser ? "number lesser" : "number");
  const labelTable = (each) => {
    const chosen = each.ranked.slice(0, LABELS), at = [each.layer, each.mode], sign = labels.sign(...at);
    if (state.label >= 0 && !chosen.includes(state.label)) chosen.push(state.label);
    const heads = COLUMNS.map((column) => make("th", { scope: "col", class: kind(column) }, ...column.name()));
    const rows = chosen.map((i) => make("tr", i === state.label ? { class: "picked" } : {},
      make("th", { scope: "row" }, make("bdi", {}, labels.names[i]), ...(sign ? [make("small", {}, sign[i] < 0 ? " low" : " high")] : [])),
      ...COLUMNS.map((column) => make("td", { class: kind(column) }, ...column.of(at, i)))));
    return make("div", {},
      make("h4", {}, "What its scores find"),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Labels of this mode" }, make("table", {},
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Label"), ...heads)), make("tbody", {}, ...rows))));
  };

  const SVG = "http://www.w3.org/2000/svg";
  const drawing = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const histogramOf = (each) => {
    const { layer, mode } = each;
    const [low, high] = histogram.edges(layer, mode);
    const shares = histogram.classes.map((_, i) => {
      const counts = [...histogram.counts(layer, mode, i)];
      const total = counts.reduce((a, b) => a + b, 0);
      return { total, share: counts.map((count) => count / (total || 1)) };
    });
    const top = Math.max(...shares.flatMap(({ share }) => share)) || 1;
    const best = deck.labels?.names[labelOf(each)];
    const rows = histogram.classes.map((name, i) => {
      const { total, share } = shares[i];
      const steps = share.map((each, bin) => `V${(1 - each / top).toFixed(3)}H${bin + 1}`).join("");
      const picture = drawing("svg", { viewBox: `0 0 ${share.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
      picture.append(drawing("path", { d: `M0 1${steps}V1Z` }));
      if (low < 0 && high > 0) {
        const zero = (-low / (high - low)) * share.length;
        picture.append(drawing("line", { x1: zero, x2: zero, y1: 0, y2: 1 }));
      }
      const row = make("div", { class: name === best ? "row picked" : "row" }, make("bdi", { title: `${name}: ${total} windows` }, name), picture);
      return row;
    });
    const axis = make("div", { class: "row axis" }, make("span", {}), make("span", {}, make("span", {}, short(low)), make("span", {}, "score"), make("span", {}, short(high))));
    return make("div", {}, make("h4", {}, "Scores by part of speech of the next word"),
      make("div", { class: "histogram", role: "img", "aria-label": `Histograms of the scores from ${short(low)} to ${short(high)}, one for each class` }, ...rows, axis));
  };

  const shade = (element, share, scale) => {
    const strength = Math.round((60 * Math.abs(share)) / scale);
    if (strength < 2) return;
    element.style.setProperty("background", `color-mix(in srgb, var(${share > 0 ? "--vermilion" : "--blue"}) ${strength}%, transparent)`);
  };
  const windowItem = ({ layer, mode }, place, scale) => {
    const at = examples.windows(layer, mode)[place], score = examples.scores(layer, mode)[place];
    const steps = examples.shares(layer, mode, place), step = examples.steps(layer, mode)?.[place];
    const places = windowTokens(at);
    const length = places?.length ?? steps?.length ?? 0;
    const words = (i) => (places ? deck.tokens[places[i]] : `position ${i}`);
    // The space that a token begins with stands before its colour, so that no line ends in a stripe.
    const spans = Array.from({ length }, (_, i) => {
      const share = steps ? steps[i] * step : 0;
      const word = words(i).trimStart(), space = words(i).slice(0, words(i).length - word.length);
      const span = places ? make("span", {}, word || space) : make("span", { class: "blank" });
      if (steps) {
        span.title = `${precise(share, 2)} of ${precise(score)}`;
        shade(span, share, scale);
      }
      return places && word && i ? [space, span] : [span];
    }).flat();
    const next = deck.windows.words?.[at];
    const text = make("p", { class: "window-text", dir: "auto" }, ...spans, ...(next === undefined ? [] : [make("span", { class: "next" }, "→ ", make("bdi", {}, next))]));
    const about = [deck.windows.classes?.[at], deck.windows.stories && `story ${deck.windows.stories[at]}`].filter(Boolean).join(" · ");
    const head = make("p", { class: "window-head" }, make("b", {}, precise(score)), make("span", {}, about));
    const item = make("li", { class: "window" }, head, text);
    if (steps) {
      const most = [...steps.keys()].sort((a, b) => Math.abs(steps[b]) - Math.abs(steps[a])).slice(0, 3).filter((i) => steps[i] !== 0);
      item.append(make("p", { class: "most" }, "most from ", ...most.flatMap((i, n) => [n ? ", " : "", "“", make("bdi", {}, words(i).trim() || words(i)), `” ${precise(steps[i] * step, 2)}`])));
    }
    return item;
  };
  const windowList = (title, each, range, scale) => {
    const items = range.map((place) => windowItem(each, place, scale));
    items.slice(WINDOWS).forEach((item) => { item.hidden = true; });
    const list = make("ol", { class: "windows" }, ...items);
    const part = make("div", {}, make("h4", {}, title), list);
    if (items.length > WINDOWS) {
      const button = make("button", { type: "button" }, `Show all ${items.length}`);
      button.addEventListener("click", () => {
        items.forEach((item) => { item.hidden = false; });
        button.remove();
      });
      part.append(button);
    }
    return part;
  };
  const windowsPart = (each) => {
    const { layer, mode } = each;
    const count = examples.windows(layer, mode).length, half = Math.ceil(count / 2);
    const steps = examples.steps(layer, mode);
    const scale = steps ? Math.max(...steps) * 127 || 1 : 1;
    const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);
    const key = steps && make("p", { class: "key" }, make("span", { class: "adds" }, "adds to the score"), make("span", { class: "takes" }, "takes from it"), `full colour: ${short(scale)}`);
    return make("div", { class: "card-windows" }, ...(key ? [key] : []),
      make("div", { class: "two" }, windowList("Highest scores", each, range(0, half), scale), windowList("Lowest scores", each, range(half, count), scale)));
  };

  const modeLink = (each) => make("a", { href: `#${each.id}` }, each.name);
  const alike = (title, found, each) => {
    const values = found.similarity(each.layer, each.mode);
    const items = [...found.modes(each.layer, each.mode)].map((place, i) => make("li", {}, modeLink(modes[place]), make("span", { class: "by" }, signed(values[i]))));
    return make("div", {}, make("h4", {}, title), make("ul", { class: "alike" }, ...items));
  };
  const neighbours = (each) => make("div", { class: "card-neighbours" },
    ...(similarScores ? [alike("Neighbours by score, correlation", similarScores, each)] : []),
    ...(similarDirections ? [alike("Neighbours by direction, cosine", similarDirections, each)] : []));

  const card = (each) => {
    const place = modes.indexOf(each);
    const beside = [modes[place - 1], modes[place + 1]].filter((other) => other?.layer === each.layer);
    const compared = deck.layers.length > 1 && (similarScores || similarDirections);
    const left = [...(raised || lowered ? [direction(each)] : []), ...(histogram ? [histogramOf(each)] : [])];
    const right = [...(labels ? [labelTable(each)] : []), ...(compared ? [neighbours(each)] : [])];
    return make("div", { class: "card-body" },
      make("p", { class: "group" }, make("bdi", {}, deck.groups[each.layer])),
      facts(each),
      make("div", { class: "two" }, ...[left, right].filter(({ length }) => length).map((parts) => make("div", { class: "card-part" }, ...parts))),
      ...(examples ? [windowsPart(each)] : []),
      make("p", { class: "card-foot" }, make("a", { href: `#${each.id}` }, `Link to this card: #${each.id}`), ...beside.map(modeLink)));
  };

  // ---- the list

  const unsure = (each, label) => (pOf(each, label) > LEVEL ? { class: "unsure", title: `corrected p ${fixed(pOf(each, label))}` } : {});
  const summary = (each) => {
    const label = labelOf(each);
    const parts = [make("span", { class: "name" }, each.name)];
    if (known(aurocOf(each))) parts.push(make("span", { class: "finds" }, make("bdi", {}, deck.labels.names[label]), make("b", unsure(each, label), fixed(aurocOf(each)))));
    const why = each.why?.length ? make("span", { class: "words" }, each.why.join("; ")) : make("span", { class: "words" }, ...raisedBy(each).slice(0, LISTED).map(token));
    parts.push(why, make("span", { class: "lambda" }, state.sort === "effect" ? `effect ${short(read.effect(each.layer, each.mode))}` : `λ ${short(read.values(each.layer, each.mode))}`));
    return parts;
  };
  const drawn = new Map();
  const item = (each) => {
    if (!drawn.has(each)) {
      const details = make("details", { id: each.id, class: "card" }, make("summary", {}));
      details.addEventListener("toggle", () => { if (details.open) fill(each); });
      drawn.set(each, details);
    }
    const details = drawn.get(each);
    details.firstChild.replaceChildren(...summary(each));
    if (details.open) fill(each);
    return details;
  };
  // A card is drawn when it is opened, and again when the chosen label has changed since.
  const fill = (each) => {
    const details = drawn.get(each);
    if (details.lastChild.dataset.label === String(state.label)) return;
    if (details.childNodes.length > 1) details.lastChild.remove();
    const body = card(each);
    body.dataset.label = String(state.label);
    details.append(body);
  };

  // ---- the controls

  const options = (names) => names.map(([value, name]) => make("option", { value }, name));
  const field = (name, control) => make("label", {}, make("span", {}, name), control);
  const search = make("input", { type: "search", placeholder: "a token, a word, a label", autocomplete: "off", spellcheck: "false" });
  const layer = make("select", {}, ...options([[-1, "all layers"], ...deck.layers.map((name, i) => [i, `layer ${name}`])]));
  const label = make("select", {}, ...options([[-1, "the best of each"], ...(deck.labels?.names ?? []).map((name, i) => [i, name])]));
  const sort = make("select", {}, ...options(Object.entries(SORTS).filter(([, each]) => each.offered).map(([key, each]) => [key, each.name])));
  const status = make("p", { class: "status", role: "status" });
  const list = make("div", { class: "card-list" });
  const more = make("button", { type: "button", class: "more" });
  const controls = make("div", { class: "controls", role: "search" }, field("Search", search), field("Layer", layer), ...(deck.labels ? [field("Label", label)] : []), field("Sort by", sort));

  // ---- the map: every mode as a cell

  const levels = () => {
    const sorted = SORTS[state.sort === "layer" ? (deck.labels ? "auroc" : "eigenvalue") : state.sort];
    const values = modes.map(sorted.of);
    if (sorted === SORTS.auroc) {
      const whose = state.label >= 0 ? deck.labels.names[state.label] : "the best label";
      return { of: values.map((x) => (x - 0.5) / 0.5), caption: `Every mode: rows are layers, columns modes from 0. The stronger the colour, the higher the AUROC of ${whose} (from 0.5 to 1).` };
    }
    const scaled = sorted === SORTS.effect ? values.map(Math.abs) : values.map((x) => (x > 0 ? Math.log(x) : NaN));
    const all = scaled.filter(known);
    const low = sorted === SORTS.effect ? 0 : Math.min(...all), high = Math.max(...all);
    const how = sorted === SORTS.effect ? "size of the causal effect" : "eigenvalue (log scale)";
    return { of: scaled.map((x) => (x - low) / (high - low || 1)), caption: `Every mode: rows are layers, columns modes from 0. The stronger the colour, the larger the ${how}.` };
  };
  const cells = modes.map((each) => make("a", { href: `#${each.id}`, class: "cell", tabindex: "-1", "aria-label": each.name }));
  const caption = make("p", { class: "note", id: "mode-map-caption" });
  const grid = make("div", { class: "mode-map", role: "group", "aria-labelledby": "mode-map-caption" },
    ...deck.layers.flatMap((name, i) => [make("span", { class: "layer" }, name), ...cells.slice(i * deck.modes, (i + 1) * deck.modes)]));
  grid.style.setProperty("--modes", deck.modes);
  host.style.setProperty("--name", `${11.8 + 0.6 * Math.max(...deck.layers.map((name) => name.length))}em`);
  cells[0].tabIndex = 0;
  grid.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: deck.modes, ArrowUp: -deck.modes }[event.key];
    const from = cells.indexOf(event.target);
    if (!move || !cells[from + move]) return;
    event.preventDefault();
    cells[from].tabIndex = -1;
    cells[from + move].tabIndex = 0;
    cells[from + move].focus();
  });
  const colourMap = (kept) => {
    const { of, caption: words } = levels();
    const inside = new Set(kept);
    cells.forEach((cell, place) => {
      const each = modes[place];
      cell.style.setProperty("--level", `${Math.round(100 * Math.min(Math.max(known(of[place]) ? of[place] : 0, 0), 1))}%`);
      cell.classList.toggle("out", !inside.has(each));
      const finds = known(aurocOf(each)) ? `: ${deck.labels.names[labelOf(each)]} ${fixed(aurocOf(each))}` : "";
      cell.title = `${each.name}${finds}, eigenvalue ${short(read.values(each.layer, each.mode))}`;
    });
    caption.textContent = `${words} Choose a cell to open its card.`;
  };

  let kept = [];
  const draw = () => {
    kept = selected();
    colourMap(kept);
    list.replaceChildren(...kept.slice(0, state.shown).map(item));
    const rest = kept.length - Math.min(state.shown, kept.length);
    more.hidden = rest === 0;
    more.textContent = `Show ${Math.min(MORE, rest)} more`;
    status.textContent = kept.length ? `${kept.length} of ${modes.length} modes, ${state.query.trim() ? "closest first, then " : ""}by ${SORTS[state.sort].name}` : "No mode fits. Try a shorter word, or all layers.";
  };
  const set = (change) => { Object.assign(state, { shown: FIRST }, change); draw(); };
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => set({ query: search.value }), 120); });
  layer.addEventListener("change", () => set({ layer: Number(layer.value) }));
  label.addEventListener("change", () => { sort.value = "auroc"; set({ label: Number(label.value), sort: "auroc" }); });
  sort.addEventListener("change", () => set({ sort: sort.value }));
  more.addEventListener("click", () => {
    const first = state.shown;
    state.shown += MORE;
    draw();
    list.children[first]?.firstChild.focus();
  });

  // A link to a card opens it, whatever the list shows.
  const follow = () => {
    const each = modes.find(({ id }) => `#${id}` === location.hash);
    if (!each) return;
    if (!kept.includes(each)) {
      search.value = "";
      layer.value = "-1";
      Object.assign(state, { query: "", layer: -1 });
      kept = selected();
    }
    state.shown = Math.max(state.shown, kept.indexOf(each) + 1);
    draw();
    const details = drawn.get(each);
    details.open = true;
    fill(each);
    details.scrollIntoView();
    details.firstChild.focus({ preventScroll: true });
  };
  addEventListener("hashchange", follow);
  // A second choice of the same link changes no hash.
  host.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#mode-']");
    if (link && link.hash === location.hash) follow();
  });

  host.append(controls, caption, grid, status, list, more);
  draw();
  follow();
})();
