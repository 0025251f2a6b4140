"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem("tangentlens-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("tangentlens-theme", theme); } catch { /* a private window */ } };
  const setTheme = (theme) => { root.dataset.theme = theme; };
  setTheme(remembered() ?? (dark.matches ? "dark" : "light"));

  // "var(--name)" anywhere in a figure becomes the theme's colour of that name.
  const resolve = (value, style) => {
    if (typeof value === "string") {
      const name = /^var\((--[a-z]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolve(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, style)]));
    }
    return value;
  };

  const PRINTED_WIDTH = 680;
  const figures = [...document.querySelectorAll("figure.chart")].map((figure) => ({
    plot: figure.querySelector(".plot"),
    height: Number(figure.dataset.height),
    spec: JSON.parse(figure.querySelector("script").textContent),
  }));

  const dressed = ({ spec, height, plot }, printing) => {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { data, layout } = resolve(spec, style);
    const width = printing ? PRINTED_WIDTH : plot.clientWidth;
    const narrow = width < 560;
    const axis = { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, tickfont: { color: colour("--soft"), size: narrow ? 11 : 12 }, automargin: true };
    const axes = Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key));
    for (const key of axes) {
      const title = layout[key].title;
      layout[key] = { ...axis, ...layout[key], title: title && { standoff: 8, font: { color: colour("--soft"), size: 13 }, ...title } };
    }
    if (layout.coloraxis?.colorbar && narrow) layout.coloraxis.showscale = false;
    return {
      data,
      layout: {
        ...layout,
        width: printing ? width : undefined,
        height,
        autosize: !printing,
        margin: { ...layout.margin, l: narrow ? 40 : layout.margin.l },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("--ink") },
        hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink"), size: 13 } },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--line"), activecolor: colour("--soft") },
        dragmode: narrow ? false : "zoom",
      },
    };
  };

  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg" },
  };
  const draw = (figure, printing = false) => {
    const { data, layout } = dressed(figure, printing);
    return Plotly.react(figure.plot, data, layout, { ...config, displayModeBar: layout.dragmode ? "hover" : false });
  };
  // plotly.js is 4.7 MB and holds the page up while it starts: it waits for the first chart that comes near the window,
  // and so does each chart. Where it lies in a file beside the page it is fetched at once, so that printing has it.
  const library = document.getElementById("plotly");
  const waiting = new Set(figures);
  const start = (resolve) => {
    const script = document.createElement("script");
    const { address } = library.dataset;
    script.onerror = () => figures.forEach(({ plot }) => { plot.textContent = plot.getAttribute("aria-label"); });
    if (address) {
      script.onload = resolve;
      script.src = address;
    } else script.textContent = library.textContent;
    document.head.append(script);
    if (!address) resolve();
  };
  let started = null;
  const wake = () => (started ??= new Promise(start));
  const drawFirst = async (figure) => {
    if (!waiting.delete(figure)) return;
    await wake();
    await draw(figure);
  };
  const near = new IntersectionObserver(async (entries) => {
    const found = entries.filter(({ isIntersecting }) => isIntersecting).map(({ target }) => target);
    await Promise.all(figures.filter(({ plot }) => found.includes(plot)).map(drawFirst));
    root.dataset.charts = "drawn"; // those near the window
  }, { rootMargin: "200px" });
  figures.forEach(({ plot }) => near.observe(plot));
  if (library?.dataset.address) wake();
  // A film hands a chart what changes of every trace in its next frame.
  for (const figure of figures) {
    figure.plot.addEventListener("frame", ({ detail }) => {
      figure.spec.data.forEach((trace, i) => Object.assign(trace, detail[i]));
      if (window.Plotly && !waiting.has(figure)) draw(figure);
    });
  }
  const redraw = () => {
    if (window.Plotly) figures.filter((figure) => !waiting.has(figure)).forEach((figure) => draw(figure));
  };
  const drawForPrint = () => {
    if (figures.length) wake();
    if (!window.Plotly) return;
    waiting.clear();
    figures.forEach((figure) => draw(figure, true));
  };

  document.getElementById("theme").addEventListener("click", () => {
    setTheme(root.dataset.theme === "dark" ? "light" : "dark");
    remember(root.dataset.theme);
    redraw();
  });
  dark.addEventListener("change", (event) => {
    if (remembered()) return;
    setTheme(event.matches ? "dark" : "light");
    redraw();
  });

  let before = root.dataset.theme;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    setTheme("light");
    drawForPrint();
  });
  addEventListener("afterprint", () => {
    setTheme(before);
    redraw();
  });

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
  }

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const [name, link] of links) {
        if (name === entry.target.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of document.querySelectorAll("main section")) seen.observe(section);
})();
