"use strict";
// Films: a slider, and a button that moves it, hand the chart below them one frame after another.
(() => {
  const PAUSE = 120;
  const inflated = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  };
  for (const film of document.querySelectorAll(".film")) {
    const plot = film.querySelector(".plot"), slider = film.querySelector("input");
    const shown = film.querySelector("output"), button = film.querySelector("button");
    const names = JSON.parse(film.querySelector(".names").textContent);
    let frames = null;
    const show = async () => {
      const at = Number(slider.value);
      shown.textContent = names[at];
      slider.setAttribute("aria-valuetext", names[at]);
      frames ??= inflated(film.querySelector(".frames").textContent);
      plot.dispatchEvent(new CustomEvent("frame", { detail: (await frames)[at] }));
    };
    let playing = 0;
    const stop = () => {
      clearInterval(playing);
      playing = 0;
      button.textContent = "Play";
    };
    const step = () => {
      slider.value = String(Number(slider.value) + 1);
      show();
      if (Number(slider.value) === names.length - 1) stop();
    };
    const play = () => {
      if (Number(slider.value) === names.length - 1) slider.value = "0";
      show();
      button.textContent = "Stop";
      playing = setInterval(step, PAUSE);
    };
    slider.addEventListener("input", () => { stop(); show(); });
    button.addEventListener("click", () => (playing ? stop() : play()));
  }
})();
