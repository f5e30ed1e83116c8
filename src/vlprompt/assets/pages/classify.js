"use strict";
// A picture as `vlprompt predict` prepares it: turned as its note says, on white where it is transparent, scaled as
// Pillow scales (two passes, each rounded to whole levels) and cropped; then the model, on this device alone.
const about = JSON.parse(document.getElementById("about").textContent);
const BITS = 22; // of the weights' fixed point
const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const a = -0.5, y = Math.abs(x);
    return y < 1 ? ((a + 2) * y - (a + 3)) * y * y + 1 : y < 2 ? (((y - 5) * y + 8) * y - 4) * a : 0;
  }],
  lanczos: [3, (x) => (-3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** For every place of the result: where its window begins, and the window's weights as whole numbers. */
function windows(from, to, how) {
  const scale = from / to;
  if (how === "nearest") {
    return Array.from({length: to}, (_, i) => [Math.min(from - 1, Math.floor((i + 0.5) * scale)), [1 << BITS]]);
  }
  const [reach, weight] = FILTERS[how];
  const wide = Math.max(scale, 1), support = reach * wide;
  return Array.from({length: to}, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(from, Math.trunc(centre + support + 0.5));
    const held = [];
    let sum = 0;
    for (let x = first; x < last; x++) {
      const w = weight((x - centre + 0.5) / wide);
      held.push(w);
      sum += w;
    }
    return [first, held.map((w) => {
      const fixed = (sum ? w / sum : w) * (1 << BITS);
      return Math.trunc(fixed + (fixed < 0 ? -0.5 : 0.5));
    })];
  });
}

function level(sum) {
  return Math.max(0, Math.min(255, Math.floor(sum / (1 << BITS))));
}

/** Scales {data: RGB bytes, width, height}. */
function scaled(picture, width, height, how) {
  let {data} = picture;
  const rows = picture.height, half = 1 << (BITS - 1);
  if (width !== picture.width) {
    const found = new Uint8ClampedArray(width * rows * 3), places = windows(picture.width, width, how);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < width; x++) {
        const [first, weights] = places[x];
        let r = half, g = half, b = half, at = (y * picture.width + first) * 3;
        for (const w of weights) {
          r += data[at] * w; g += data[at + 1] * w; b += data[at + 2] * w;
          at += 3;
        }
        const to = (y * width + x) * 3;
        found[to] = level(r); found[to + 1] = level(g); found[to + 2] = level(b);
      }
    }
    data = found;
  }
  if (height !== rows) {
    const found = new Uint8ClampedArray(width * height * 3), places = windows(rows, height, how);
    for (let y = 0; y < height; y++) {
      const [first, weights] = places[y];
      for (let x = 0; x < width * 3; x++) {
        let sum = half, at = first * width * 3 + x;
        for (const w of weights) { sum += data[at] * w; at += width * 3; }
        found[y * width * 3 + x] = level(sum);
      }
    }
    data = found;
  }
  return {data, width, height};
}

/** Halves go to the even number, as in Python. */
function rounded(x) {
  const down = Math.floor(x), rest = x - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

/** RGB bytes of a file or blob, turned as its note says. */
async function pixels(blob) {
  const image = await createImageBitmap(blob, {
    imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none",
  });
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  pen.fillStyle = "white";
  pen.fillRect(0, 0, image.width, image.height);
  pen.drawImage(image, 0, 0);
  const held = pen.getImageData(0, 0, image.width, image.height).data;
  const data = new Uint8ClampedArray(image.width * image.height * 3);
  for (let i = 0, j = 0; i < held.length; i += 4) {
    data[j++] = held[i]; data[j++] = held[i + 1]; data[j++] = held[i + 2];
  }
  return {data, width: image.width, height: image.height};
}

/** The square that the model takes: RGB bytes, size x size. */
async function square(blob) {
  const picture = await pixels(blob), {size, shorter, resize, interpolation} = about.preprocessing;
  if (resize === "squash") return scaled(picture, size, size, interpolation).data;
  const {width, height} = picture;
  const long = Math.trunc(shorter * Math.max(width, height) / Math.min(width, height));
  const whole = width <= height
    ? scaled(picture, shorter, width === height ? shorter : long, interpolation)
    : scaled(picture, long, shorter, interpolation);
  const left = rounded((whole.width - size) / 2), top = rounded((whole.height - size) / 2);
  const found = new Uint8ClampedArray(size * size * 3);
  for (let y = 0; y < size; y++) {
    const from = ((top + y) * whole.width + left) * 3;
    found.set(whole.data.subarray(from, from + size * 3), y * size * 3);
  }
  return found;
}

async function bytes(base64) {
  return new Uint8Array(await (await fetch(`data:application/octet-stream;base64,${base64}`)).arrayBuffer());
}

async function load() {
  const code = await bytes(self.RUNTIME_CODE), program = await bytes(self.RUNTIME_PROGRAM);
  const address = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
  const ort = await import(address);
  ort.env.wasm.numThreads = 1; // more need headers that a folder cannot have
  ort.env.wasm.wasmBinary = program.buffer;
  const model = await bytes(self.MODEL);
  const session = await ort.InferenceSession.create(model, {executionProviders: ["wasm"]});
  self.RUNTIME_CODE = self.RUNTIME_PROGRAM = self.MODEL = null;
  return async (blob) => {
    const {size} = about.preprocessing, taken = new Uint8Array((await square(blob)).buffer);
    const found = await session.run({pictures: new ort.Tensor("uint8", taken, [1, size, size, 3])});
    return Array.from(found.probabilities.data);
  };
}

const told = document.getElementById("told"), answers = document.getElementById("answers");
const drop = document.getElementById("drop"), chooser = document.getElementById("file");
const MOST = 5;

async function classify(blob) {
  answers.replaceChildren();
  told.textContent = "looking ...";
  try {
    const shown = document.createElement("img");
    shown.alt = blob.name || "the picture";
    shown.src = URL.createObjectURL(blob);
    document.getElementById("shown").replaceChildren(shown);
    const probabilities = await (await page.model)(blob);
    const order = probabilities.map((p, i) => [p, about.class_names[i]]).sort((a, b) => b[0] - a[0]);
    for (const [p, name] of order.slice(0, MOST)) {
      const row = document.createElement("li"), bar = document.createElement("div"), filled = document.createElement("i");
      const label = document.createElement("span"), share = document.createElement("span");
      label.textContent = name;
      share.textContent = `${(100 * p).toFixed(1)} %`;
      bar.className = "bar";
      filled.style.width = `${100 * p}%`;
      bar.append(filled);
      row.append(label, share, bar);
      answers.append(row);
    }
    told.textContent = `${order[0][1]}, ${(100 * order[0][0]).toFixed(1)} %`;
    return probabilities;
  } catch (error) {
    told.textContent = `this picture cannot be read: ${error.message || error}`;
    return null;
  }
}

const page = {classify, square, model: load()};
self.vlprompt = page;
page.model.then(
  () => { told.textContent = "ready"; },
  (error) => { told.textContent = `the model cannot be loaded: ${error.message || error}`; },
);
chooser.addEventListener("change", () => { if (chooser.files[0]) classify(chooser.files[0]); });
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files[0]) classify(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) classify(file);
});
