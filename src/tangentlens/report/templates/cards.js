"use strict";
// Feature cards: a list of modes that can be searched and sorted; a card is drawn when it is opened. A language model's
// modes are shown by windows of text and tested on labels, those of any other model (deck.general) by its inputs and on
// facts about them.
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
  const { general } = deck, inputs = general?.inputs;
  const [more, facts] = [general, general?.facts].map(readers);
  const [inputRows, inputLines] = [inputs?.rows, inputs?.lines].map(reader);
  const known = (number) => number !== null && Number.isFinite(number);

  const countOf = (layer) => general?.counts[layer] ?? deck.modes;
  const modes = deck.layers.flatMap((name, layer) => Array.from({ length: countOf(layer) }, (_, mode) => ({
    layer, mode, id: general ? `${general.links[layer]}-${mode}` : `mode-${name}-${mode}`, name: `${general ? "" : "Layer "}${name} · mode ${mode}`,
  })));
  modes.forEach((each, place) => { each.place = place; });
  const effectMeasured = modes.some(({ layer, mode }) => known(read.effect(layer, mode)));

  // ---- words and numbers

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const minus = (text) => text.replaceAll("-", "−");
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

  // What modes are tested on: labels by AUROC, or facts by 2 AUROC - 1 and rank correlation, the best of the other half first.
  const tested = labels
    ? { names: labels.names, of: labels.auroc, p: labels.p, order: labels.auroc, floor: 0.5, name: "AUROC", best: "best label", text: (x) => fixed(x) }
    : facts && { names: facts.names, of: facts.strength, p: facts.p, order: facts.merit, floor: 0, name: "best fact", best: "goes with", text: (x, i) => (facts.kinds[i] === "binary" ? fixed((1 + x) / 2) : `r ${fixed(x, 2)}`) };
  const aurocs = ({ layer, mode }) => tested?.of(layer, mode) ?? [];
  const ranked = ({ layer, mode }) => {
    const order = tested?.order(layer, mode) ?? [];
    return [...order.keys()].filter((i) => known(order[i])).sort((a, b) => order[b] - order[a]);
  };
  for (const each of modes) each.ranked = ranked(each);
  const labelOf = (each) => (state.label >= 0 ? state.label : each.ranked[0]);
  const aurocOf = (each) => aurocs(each)[labelOf(each)] ?? NaN;
  const pOf = ({ layer, mode }, label) => tested?.p(layer, mode)?.[label] ?? NaN;
  const raisedBy = ({ layer, mode }) => [...(raised?.places(layer, mode) ?? [])];
  const loweredBy = ({ layer, mode }) => [...(lowered?.places(layer, mode) ?? [])];
  const windowsOf = ({ layer, mode }) => [...(examples?.windows(layer, mode) ?? [])];

  // ---- searching and sorting

  const state = { query: "", layer: -1, label: -1, sort: deck.labels ? "auroc" : general ? "layer" : "eigenvalue", shown: FIRST };
  const SORTS = {
    auroc: { name: tested?.name, of: aurocOf, offered: Boolean(tested) },
    eigenvalue: { name: "eigenvalue", of: ({ layer, mode }) => read.values(layer, mode), offered: true },
    effect: { name: "causal effect", of: ({ layer, mode }) => read.effect(layer, mode), offered: effectMeasured },
    share: { name: "share of the trace", of: ({ layer, mode }) => more.share(layer, mode), offered: Boolean(general) },
    skew: { name: "skew of the scores", of: ({ layer, mode }) => Math.abs(more.skew(layer, mode)), offered: Boolean(general) },
    layer: { name: general ? "group and mode" : "layer and mode", of: ({ layer, mode }) => -(layer * deck.modes + mode), offered: true },
  };
  const descending = (key) => (a, b) => {
    const [x, y] = [key(a), key(b)];
    return known(x) && known(y) ? y - x : known(y) - known(x);
  };

  let windowTexts = null;
  const searchable = () => (windowTexts ??= inputs ? inputs.number.map((_, i) => (inputs.texts?.[i] ?? "").toLowerCase()) : (deck.windows?.number ?? []).map((_, place) => {
    const places = windowTokens(place);
    return places ? Array.from(places, (at) => deck.tokens[at]).join("").toLowerCase() : "";
  }));
  // For every kind of hit the places where the query occurs, found once for all modes.
  const hits = (query) => ({
    tokens: new Set(deck.tokens.flatMap((text, place) => (text.toLowerCase().includes(query) ? [place] : []))),
    words: new Set((deck.windows?.words ?? inputs?.classes ?? []).flatMap((word, place) => (word.toLowerCase().includes(query) ? [place] : []))),
    windows: new Set(searchable().flatMap((text, place) => (text.includes(query) ? [place] : []))),
  });
  const reasons = (each, query, found) => {
    const count = (places, among) => places.filter((place) => among.has(place)).length;
    const named = (verb, places) => {
      const first = places.find((place) => found.tokens.has(place));
      return first === undefined ? [] : [`${verb} “${deck.tokens[first].trim()}”`];
    };
    const texts = count(windowsOf(each), found.windows), words = count(windowsOf(each), found.words);
    const best = tested?.names[each.ranked[0]];
    const held = (general?.found[each.place] ?? []).filter(({ feature }) => feature.toLowerCase().includes(query));
    const own = [
      ...held.map(({ feature }) => `best mode of ${feature}`),
      ...(each.id === query || each.name.toLowerCase().includes(query) ? [each.name] : []),
      ...(best?.toLowerCase().includes(query) ? [`${tested.best} ${best}`] : []),
      ...named("raises", raisedBy(each)),
      ...named("lowers", loweredBy(each)),
    ];
    each.fit = own.length ? 2 : Number(words > 0);
    return [
      ...own,
      ...(words ? [inputs ? `${inputs.label} of ${words} of its extremes` : `next word of ${words} of its windows`] : []),
      ...(texts ? [`in the text of ${texts} of its ${inputs ? "inputs" : "windows"}`] : []),
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

  const properties = (each) => {
    const { layer, mode } = each;
    const rows = [["Eigenvalue", short(read.values(layer, mode))]];
    const residual = read.residuals(layer, mode), error = read.errors(layer, mode), done = read.converged(layer, mode);
    if (residual !== null) rows.push(general ? ["Residual", short(residual)] : ["Residual in the full kernel, estimated", fixed(residual) + (known(error) ? ` ± ${fixed(error)}` : "")]);
    if (general) {
      rows.splice(1, 0, ["Share of the trace", `${short(100 * more.share(layer, mode))} %`]);
      rows.push(["Mean score", short(more.mean(layer, mode))], ["Skew", fixed(more.skew(layer, mode), 2)]);
      if (general.family[each.place] !== each.place) rows.push(["Family of", modeLink(modes[general.family[each.place]])]);
      if (more.unresolved(layer, mode)) rows.push(["Resolved", "only with its neighbours"]);
    }
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
  // The columns of the table of labels, or of facts: what the run holds of it.
  const counted = ([layer, mode], i) => {
    const [share, base, end, quarter] = [facts.share, facts.base, facts.end, facts.quarter].map((of) => of(layer, mode)[i]);
    if (share <= base) return [small("no more than elsewhere")];
    const whose = quarter ? [" ", small(`in its ${quarter === 1 ? "lowest" : "highest"} quarter`)] : [];
    return [`${Math.round(share * facts.extremes)} of ${facts.extremes} ${end > 0 ? "highest" : "lowest"}`, ...whose, " ", small(`(all: ${fixed(100 * base, 0)} %)`)];
  };
  const COLUMNS = facts ? [
    { name: () => [facts.kinds.includes("binary") ? "AUROC" : "rank correlation", ...(facts.kinds.includes("real") && facts.kinds.includes("binary") ? [", or r"] : [])], of: (at, i) => [tested.text(facts.strength(...at)[i], i)], held: facts.strength },
    { name: () => [make("abbr", { title: "corrected over all facts, modes and both tests" }, "p")], of: ([layer, mode], i) => [pValue(pOf({ layer, mode }, i))], held: facts.p },
    { name: () => ["among the extremes"], of: counted, held: facts.share, words: true },
  ] : [
    { name: () => ["AUROC", ...(bounded ? [" ", small("95 % interval")] : [])], of: (at, i) => [fixed(labels.auroc(...at)[i]), ...interval(at, i)], held: labels?.auroc },
    { name: () => ["corrected p"], of: ([layer, mode], i) => [pValue(pOf({ layer, mode }, i))], held: labels?.p },
    { name: () => [make("abbr", { title: "average precision" }, "AP")], of: (at, i) => [fixed(labels.average_precision(...at)[i])], held: labels?.average_precision, lesser: true },
  ].filter(({ held }) => held?.(0, 0));
  const kind = ({ lesser, words }) => (words ? "counted" : lesser ? "number lesser" : "number");
  const labelTable = (each) => {
    const chosen = each.ranked.slice(0, LABELS), at = [each.layer, each.mode], sign = (labels ?? facts).sign(...at);
    if (state.label >= 0 && !chosen.includes(state.label)) chosen.push(state.label);
    const heads = COLUMNS.map((column) => make("th", { scope: "col", class: kind(column) }, ...column.name()));
    const rows = chosen.map((i) => make("tr", i === state.label ? { class: "picked" } : facts && pOf(each, i) > LEVEL ? { class: "unsure" } : {},
      make("th", { scope: "row" }, make("bdi", { title: facts?.sources[i] ?? "" }, tested.names[i]), ...(sign ? [make("small", {}, sign[i] < 0 ? " low" : " high")] : [])),
      ...COLUMNS.map((column) => make("td", { class: kind(column) }, ...column.of(at, i)))));
    return make("div", {},
      make("h4", {}, facts ? "What its scores go with" : "What its scores find"),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${facts ? "Facts" : "Labels"} of this mode` }, make("table", {},
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, facts ? "Fact" : "Label"), ...heads)), make("tbody", {}, ...rows))));
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
    const best = tested?.names[labelOf(each)];
    const alone = general && histogram.classes.length === 1; // it needs no name
    const isBest = (name) => name === best || Boolean(inputs?.classes && best?.endsWith(` = ${name}`));
    const rows = histogram.classes.map((name, i) => {
      const { total, share } = shares[i];
      const steps = share.map((each, bin) => `V${(1 - each / top).toFixed(3)}H${bin + 1}`).join("");
      const picture = drawing("svg", { viewBox: `0 0 ${share.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
      picture.append(drawing("path", { d: `M0 1${steps}V1Z` }));
      if (low < 0 && high > 0) {
        const zero = (-low / (high - low)) * share.length;
        picture.append(drawing("line", { x1: zero, x2: zero, y1: 0, y2: 1 }));
      }
      const row = make("div", { class: isBest(name) ? "row picked" : "row" }, ...(alone ? [] : [make("bdi", { title: `${name}: ${total} ${general ? "inputs" : "windows"}` }, name)]), picture);
      return row;
    });
    const axis = make("div", { class: "row axis" }, ...(alone ? [] : [make("span", {})]), make("span", {}, make("span", {}, short(low)), make("span", {}, "score"), make("span", {}, short(high))));
    const wide = general ? { style: `--label: ${Math.min(8, 0.8 + 0.6 * Math.max(...histogram.classes.map(({ length }) => length)))}em` } : {};
    return make("div", wide, make("h4", {}, !general ? (histogram.classes.length === 1 ? "Scores" : `Scores by ${deck.classes_of}`) : inputs.classes ? `Scores by ${inputs.label}` : "Scores"),
      make("div", { class: alone ? "histogram alone" : "histogram", role: "img", "aria-label": `Histograms of the scores from ${short(low)} to ${short(high)}, one for each class` }, ...rows, axis));
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
    return make("div", {}, make("h4", {}, title), folded(items));
  };
  // A list of which the first are seen, and the others when asked for.
  const folded = (items, kind = "windows") => {
    items.slice(WINDOWS).forEach((item) => { item.hidden = true; });
    const part = make("div", {}, make("ol", { class: kind }, ...items));
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

  // ---- the inputs of any model

  const classOf = (at) => (inputs.classes ? [make("bdi", {}, inputs.classes[at])] : []);
  const numberOf = (at) => `${inputs.label && inputs.classes ? `${inputs.label} ${inputs.classes[at]}, ` : ""}input ${inputs.number[at]}`;
  const picture = (at) => make("img", { src: inputs.pictures[at], alt: numberOf(at), title: numberOf(at) });
  const sparkline = (at) => {
    const [, T, lines] = inputs.lines.shape, values = inputLines(at);
    const [low, high] = values.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [Infinity, -Infinity]);
    const svg = drawing("svg", { viewBox: `0 0 ${Math.max(T - 1, 1)} 1`, preserveAspectRatio: "none", role: "img", "aria-label": `${numberOf(at)}, from ${short(low)} to ${short(high)}` });
    for (let line = 0; line < lines; line++) {
      const y = (t) => (1 - (values[t * lines + line] - low) / (high - low || 1)).toFixed(3);
      svg.append(drawing("polyline", { points: Array.from({ length: T }, (_, t) => `${t},${y(t)}`).join(" "), class: `line-${line % 4}` }));
    }
    return svg;
  };
  const head = (at, score) => make("p", { class: "window-head" }, make("b", {}, withSign(score, Math.abs(score).toPrecision(3))), ...classOf(at), make("span", {}, `input ${inputs.number[at]}`));
  // A column's numbers with the same decimals; the further from the mean of the inputs shown, the stronger the colour.
  const columns = (inputs?.columns ?? []).map((name, column) => {
    const all = inputs.number.map((_, at) => inputRows(at)[column]).filter(known);
    const mean = all.reduce((a, b) => a + b, 0) / (all.length || 1);
    const spread = Math.sqrt(all.reduce((a, b) => a + (b - mean) ** 2, 0) / (all.length || 1)) || 1;
    const largest = Math.max(...all.map(Math.abs), 1e-300);
    const digits = all.every(Number.isInteger) ? 0 : Math.min(Math.max(2 - Math.floor(Math.log10(largest)), 0), 4);
    const text = (x) => (largest >= 1e6 || largest < 1e-3 ? short(x) : known(x) ? minus(x.toFixed(digits)) : "");
    return { name, cell: (x) => {
      const cell = make("td", { class: "number" }, text(x));
      shade(cell, Math.max(-1, Math.min(1, (x - mean) / (2 * spread))) || 0, 1.5);
      return cell;
    } };
  });
  const SHOWN = {
    image: (rows) => make("ul", { class: "input-pictures" }, ...rows.map(([at, score]) => make("li", {}, picture(at), make("span", {}, ...classOf(at), small(withSign(score, Math.abs(score).toPrecision(2))))))),
    table: (rows) => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Inputs" }, make("table", { class: "input-rows" },
      make("thead", {}, make("tr", {}, ...["score", ...(inputs.classes ? [inputs.label] : []), ...columns.map(({ name }) => name)].map((name) => make("th", { scope: "col", class: "number" }, name)))),
      make("tbody", {}, ...rows.map(([at, score]) => make("tr", { title: numberOf(at) }, make("th", { scope: "row", class: "number" }, withSign(score, Math.abs(score).toPrecision(3))),
        ...(inputs.classes ? [make("td", { class: "number" }, inputs.classes[at])] : []), ...Array.from(inputRows(at), (x, i) => columns[i].cell(x))))))),
    text: (rows) => folded(rows.map(([at, score]) => make("li", { class: "window" }, head(at, score), make("p", { class: "window-text", dir: "auto" }, inputs.texts[at])))),
    series: (rows) => folded(rows.map(([at, score]) => make("li", { class: "window" }, head(at, score), sparkline(at))), "windows input-lines"),
    "": (rows) => make("ol", { class: "windows input-names" }, ...rows.map(([at, score]) => make("li", {}, head(at, score)))),
  };
  const inputsPart = ({ layer, mode }) => {
    const places = [...examples.windows(layer, mode)], scores = examples.scores(layer, mode), half = places.length / 2;
    const rows = places.map((at, i) => [at, scores[i]]);
    const end = (title, some) => make("div", {}, make("h4", {}, title), SHOWN[inputs.kind](some));
    const key = columns.length ? [make("p", { class: "key" }, make("span", { class: "adds" }, "above the mean of the inputs shown"), make("span", { class: "takes" }, "below it"))] : [];
    return make("div", { class: columns.length > 4 ? "card-inputs" : "two card-inputs" }, ...key, end("Highest scores", rows.slice(0, half)), end("Lowest scores", rows.slice(half)));
  };
  const QUESTIONS = ["aligned", "learned", "used"], ANSWERS = { holds: "yes", "does not hold": "no" };
  const foundPart = (found) => make("div", {},
    make("h4", {}, "Features that it is the best mode of"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Features" }, make("table", {},
      make("thead", {}, make("tr", {}, ...["Feature", "score", ...QUESTIONS].map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...found.map(({ feature, score, interval: range, p, verdicts }) => make("tr", { title: `95 % interval ${range}, corrected p ${pValue(p)}` },
        make("th", { scope: "row" }, make("bdi", {}, feature)), make("td", {}, score),
        ...verdicts.map((verdict) => make("td", { class: `answer ${verdict.replaceAll(" ", "-")}` }, ANSWERS[verdict] ?? verdict))))))));

  const modeLink = (each) => make("a", { href: `#${each.id}` }, each.name);
  const alike = (title, found, each) => {
    const values = found.similarity(each.layer, each.mode);
    const items = [...found.modes(each.layer, each.mode)].map((place, i) => make("li", {}, modeLink(modes[place]), make("span", { class: "by" }, signed(values[i]))));
    return make("div", {}, make("h4", {}, title), make("ul", { class: "alike" }, ...items));
  };
  const neighbours = (each) => make("div", { class: "card-neighbours" },
    ...(similarScores ? [alike("Neighbours by score, correlation", similarScores, each)] : []),
    ...(similarDirections ? [alike("Neighbours by direction, cosine", similarDirections, each)] : []));

  const kin = (each) => make("div", { class: "card-neighbours" }, make("div", {}, make("h4", {}, "Like modes of other groups, cosine of the scores"),
    make("ul", { class: "alike" }, ...general.similar[each.place].map(([place, cosine]) => make("li", {}, modeLink(modes[place]), make("span", { class: "by" }, signed(cosine)))))));

  const card = (each) => {
    const { place } = each;
    const beside = [modes[place - 1], modes[place + 1]].filter((other) => other?.layer === each.layer);
    const compared = deck.layers.length > 1 && (similarScores || similarDirections);
    const left = [...(raised || lowered ? [direction(each)] : []), ...(histogram ? [histogramOf(each)] : []), ...(general?.similar[place].length ? [kin(each)] : [])];
    const right = [...(tested && each.ranked.length ? [labelTable(each)] : []), ...(compared ? [neighbours(each)] : []),
      ...(general?.found[place].length ? [foundPart(general.found[place])] : [])];
    return make("div", { class: "card-body" },
      ...(general ? [] : [make("p", { class: "group" }, make("bdi", {}, deck.groups[each.layer]))]),
      ...(deck.explained?.[place] ? [make("p", { class: "group" }, "Goes with: ", make("bdi", {}, deck.explained[place]))] : []),
      properties(each),
      ...(inputs ? [inputsPart(each)] : []),
      make("div", { class: "two" }, ...[left, right].filter(({ length }) => length).map((parts) => make("div", { class: "card-part" }, ...parts))),
      ...(examples && !inputs ? [windowsPart(each)] : []),
      make("p", { class: "card-foot" }, make("a", { href: `#${each.id}` }, `Link to this card: #${each.id}`), ...beside.map(modeLink)));
  };

  // ---- the list

  const preview = (each) => {
    const all = windowsOf(each), half = all.length / 2;
    const strip = (make_, most) => make("span", { class: "words strip" }, make("span", {}, ...all.slice(0, Math.min(most, half)).map(make_)), make("span", { class: "lows" }, ...all.slice(half, half + most).map(make_)));
    if (inputs.pictures) return strip(picture, LISTED);
    if (inputs.lines) return strip(sparkline, 2);
    const also = each.ranked.slice(1).filter((i) => pOf(each, i) <= LEVEL).slice(0, 4).map((i) => tested.names[i]);
    return make("span", { class: "words" }, ...(inputs.texts ? [make("bdi", {}, inputs.texts[all[0]])] : also.length ? [`also ${also.join(", ")}`] : []));
  };
  const unsure = (each, label) => (pOf(each, label) > LEVEL ? { class: "unsure", title: `corrected p ${fixed(pOf(each, label))}` } : {});
  const summary = (each) => {
    const label = labelOf(each);
    const parts = [make("span", { class: "name" }, each.name)];
    if (known(aurocOf(each))) parts.push(make("span", { class: "finds" }, make("bdi", {}, tested.names[label]), make("b", unsure(each, label), tested.text(aurocOf(each), label))));
    const why = each.why?.length ? make("span", { class: "words" }, each.why.join("; ")) : inputs ? preview(each) : make("span", { class: "words" }, ...raisedBy(each).slice(0, LISTED).map(token));
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
  const search = make("input", { type: "search", placeholder: general ? "a fact, a feature, a class" : "a token, a word, a label", autocomplete: "off", spellcheck: "false" });
  const layer = make("select", {}, ...options([[-1, general ? "all groups" : "all layers"], ...deck.layers.map((name, i) => [i, general ? name : `layer ${name}`])]));
  const label = make("select", {}, ...options([[-1, "the best of each"], ...(tested?.names ?? []).map((name, i) => [i, name])]));
  const sort = make("select", {}, ...options(Object.entries(SORTS).filter(([, each]) => each.offered).map(([key, each]) => [key, each.name])));
  sort.value = state.sort;
  const status = make("p", { class: "status", role: "status" });
  const list = make("div", { class: "card-list" });
  const further = make("button", { type: "button", class: "more" });
  const controls = make("div", { class: "controls", role: "search" }, field("Search", search), field(general ? "Group" : "Layer", layer), ...(tested ? [field(facts ? "Fact" : "Label", label)] : []), field("Sort by", sort));

  // ---- the map: every mode as a cell

  const levels = () => {
    const sorted = SORTS[state.sort === "layer" ? (tested ? "auroc" : "eigenvalue") : state.sort];
    const values = modes.map(sorted.of), rows = general ? "groups" : "layers";
    if (sorted === SORTS.auroc) {
      const whose = state.label >= 0 ? tested.names[state.label] : facts ? "its best fact" : "the best label";
      const what = facts ? `the more its scores go with ${whose} (AUROC from 0.5 to 1, rank correlation from 0 to 1)` : `the higher the AUROC of ${whose} (from 0.5 to 1)`;
      return { of: values.map((x) => (x - tested.floor) / (1 - tested.floor)), caption: `Every mode: rows are ${rows}, columns modes from 0. The stronger the colour, ${what}.` };
    }
    const scaled = sorted === SORTS.effect || sorted === SORTS.skew ? values.map(Math.abs) : values.map((x) => (x > 0 ? Math.log(x) : NaN));
    const all = scaled.filter(known);
    const low = sorted === SORTS.effect || sorted === SORTS.skew ? 0 : Math.min(...all), high = Math.max(...all);
    const how = sorted === SORTS.effect ? "size of the causal effect" : sorted === SORTS.skew ? "skew of the scores" : `${sorted.name} (log scale)`;
    return { of: scaled.map((x) => (x - low) / (high - low || 1)), caption: `Every mode: rows are ${rows}, columns modes from 0. The stronger the colour, the larger the ${how}.` };
  };
  const cells = modes.map((each) => make("a", { href: `#${each.id}`, class: "cell", tabindex: "-1", "aria-label": each.name }));
  const caption = make("p", { class: "note", id: "mode-map-caption" });
  const grid = make("div", { class: "mode-map", role: "group", "aria-labelledby": "mode-map-caption" },
    ...deck.layers.flatMap((name, i) => [make("span", { class: "layer" }, name), ...cells.filter((_, place) => modes[place].layer === i),
      ...Array.from({ length: deck.modes - countOf(i) }, () => make("span", {}))]));
  grid.style.setProperty("--modes", deck.modes);
  host.style.setProperty("--name", `min(${(general ? 8 : 11.8) + 0.6 * Math.max(...deck.layers.map((name) => name.length))}em, 24em)`);
  cells[0].tabIndex = 0;
  grid.addEventListener("keydown", (event) => {
    const from = cells.indexOf(event.target);
    const beside = { ArrowRight: 1, ArrowLeft: -1 }[event.key], rows = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const to = rows ? modes.findIndex(({ layer, mode }) => layer === modes[from]?.layer + rows && mode === modes[from].mode) : beside ? from + beside : -1;
    if (!cells[to]) return;
    event.preventDefault();
    cells[from].tabIndex = -1;
    cells[to].tabIndex = 0;
    cells[to].focus();
  });
  const colourMap = (kept) => {
    const { of, caption: words } = levels();
    const inside = new Set(kept);
    cells.forEach((cell, place) => {
      const each = modes[place];
      cell.style.setProperty("--level", `${Math.round(100 * Math.min(Math.max(known(of[place]) ? of[place] : 0, 0), 1))}%`);
      cell.classList.toggle("out", !inside.has(each));
      const finds = known(aurocOf(each)) ? `: ${tested.names[labelOf(each)]} ${tested.text(aurocOf(each), labelOf(each))}` : "";
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
    further.hidden = rest === 0;
    further.textContent = `Show ${Math.min(MORE, rest)} more`;
    status.textContent = kept.length ? `${kept.length} of ${modes.length} modes, ${state.query.trim() ? "closest first, then " : ""}by ${SORTS[state.sort].name}` : `No mode fits. Try a shorter word, or all ${general ? "groups" : "layers"}.`;
  };
  const set = (change) => { Object.assign(state, { shown: FIRST }, change); draw(); };
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => set({ query: search.value }), 120); });
  layer.addEventListener("change", () => set({ layer: Number(layer.value) }));
  label.addEventListener("change", () => { sort.value = "auroc"; set({ label: Number(label.value), sort: "auroc" }); });
  sort.addEventListener("change", () => set({ sort: sort.value }));
  further.addEventListener("click", () => {
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
    const link = event.target.closest("a[href^='#mode-'], a[href^='#card-']");
    if (link && link.hash === location.hash) follow();
  });

  host.append(controls, caption, grid, status, list, further);
  draw();
  follow();
})();
