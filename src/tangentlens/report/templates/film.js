"use strict";
// Films: a slider, and a button that moves it, hand the chart above them one frame after another.
(() => {
  const PAUSE = 120;
  for (const film of document.querySelectorAll(".film")) {
    const plot = film.querySelector(".plot"), slider = film.querySelector("input");
    const shown = film.querySelector("output"), button = film.querySelector("button");
    const [names, frames] = ["names", "frames"].map((part) => JSON.parse(film.querySelector(`.${part}`).textContent));
    const show = () => {
      const at = Number(slider.value);
      shown.textContent = names[at];
      slider.setAttribute("aria-valuetext", names[at]);
      plot.dispatchEvent(new CustomEvent("frame", { detail: frames[at] }));
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
      if (Number(slider.value) === frames.length - 1) stop();
    };
    const play = () => {
      if (Number(slider.value) === frames.length - 1) slider.value = "0";
      show();
      button.textContent = "Stop";
      playing = setInterval(step, PAUSE);
    };
    slider.addEventListener("input", () => { stop(); show(); });
    button.addEventListener("click", () => (playing ? stop() : play()));
  }
})();
