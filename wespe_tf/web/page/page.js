"use strict";
// Most pixels of a photo. Above this, phones run out of memory, and canvases reach their limit.
const MOST_PIXELS = 50e6;
const TOO_LARGE = "The photo is too large for this device: ";
// The smallest module with a vector instruction. Browsers from before 2023 may refuse it.
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0,
  65, 0, 253, 15, 253, 98, 11]);

const $ = (id) => document.getElementById(id);
let worker = null; // null while there is no work
let job = 0; // the number of the photo; its work goes on only as long as this does not change
let photoName = "photo";

const show = (...ids) => ["sources", "message", "work", "view", "save"].forEach(
  (id) => ($(id).hidden = !ids.includes(id)));

// Shows what is going on. Screen readers read it aloud, but not how many percent are done.
function tell(text) {
  $("stage").textContent = $("status").textContent = text;
}

// Shows the buttons again, and what else is named.
function ask(...ids) {
  stop();
  tell("");
  show("sources", ...ids);
  focusOn("file");
}

// The button that had the focus is hidden now.
const focusOn = (id) => $(id).focus({ preventScroll: true });

function fail(text) {
  $("message").textContent = text;
  ask("message");
}

function stop() {
  job++;
  worker?.terminate();
  worker = null;
}

// Draws the photo on both canvases. Returns its pixels.
function draw(picture) {
  const { width, height } = picture;
  const size = `${width}×${height} pixels.`;
  if (width * height > MOST_PIXELS) throw new Error(TOO_LARGE + size);
  const contexts = ["before", "after"].map((id) => {
    Object.assign($(id), { width, height });
    return $(id).getContext("2d", { alpha: false, willReadFrequently: true });
  });
  for (const context of contexts) context.drawImage(picture, 0, 0);
  picture.close();
  let pixels;
  try {
    pixels = contexts[0].getImageData(0, 0, width, height);
  } catch {
    throw new Error(TOO_LARGE + size);
  }
  // If a canvas is larger than the device allows, it stays transparent black, without an error.
  if (pixels.data[3] === 0) throw new Error(TOO_LARGE + size);
  return { data: pixels.data, width, height };
}

async function start(file) {
  if (!file) return;
  stop();
  const mine = job;
  show("work");
  focusOn("cancel");
  tell("Reading the photo …");
  $("progress").removeAttribute("value");
  try {
    if (!WebAssembly.validate(SIMD)) {
      throw new Error("This browser is too old: it has no WebAssembly SIMD. Update it, or use another one.");
    }
    const picture = await createImageBitmap(file).catch(() => {
      throw new Error("This file cannot be read as a picture. Choose a JPEG, PNG or WebP file.");
    });
    if (mine !== job) return picture.close();
    const photo = draw(picture);
    photoName = file.name.replace(/\.[^.]*$/, "") || "photo";
    enhance(photo);
  } catch (error) {
    if (mine === job) fail(error.message);
  }
}

function enhance(photo) {
  show("work", "view");
  slide(0);
  tell("Loading the model …");
  const after = $("after").getContext("2d");
  const began = performance.now();
  let first = null; // share and time of the first part, after everything was loaded
  worker = new Worker("worker.js");
  worker.onerror = (event) => fail(`The page could not be started (${event.message ?? "worker.js"}).`);
  worker.onmessage = ({ data }) => {
    if (data.error) return fail(data.error);
    if (data.done) return finish(data, performance.now() - began);
    first ??= { share: data.share, time: performance.now() };
    $("progress").value = data.share;
    $("stage").textContent = remaining(data.share, first);
    if (data.pixels) {
      after.putImageData(new ImageData(data.pixels, data.width, data.height), data.left, data.top);
    }
  };
  worker.postMessage(photo, [photo.data.buffer]);
}

function remaining(share, first) {
  const text = `${Math.floor(100 * share)} %`;
  if (share <= first.share) return text;
  const seconds = ((performance.now() - first.time) / (share - first.share)) * (1 - share) / 1000;
  return seconds < 90
    ? `${text}, about ${Math.ceil(seconds)} s left`
    : `${text}, about ${Math.round(seconds / 60)} min left`;
}

function finish(data, milliseconds) {
  stop();
  show("sources", "view", "save");
  tell("The photo is enhanced.");
  slide(50);
  focusOn("slider");
  Object.assign(document.body.dataset, {
    accelerated: data.accelerated, heap: data.heap, seconds: (milliseconds / 1000).toFixed(1),
  });
}

function slide(percent) {
  $("slider").value = percent;
  $("view").style.setProperty("--at", `${percent}%`);
}

function save(type, suffix) {
  $("after").toBlob((blob) => {
    if (!blob) return fail("The device has too little memory to save the photo.");
    const link = document.createElement("a");
    link.download = `${photoName}_enhanced.${suffix}`;
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }, type, 0.95);
}

for (const id of ["file", "camera"]) {
  $(id).addEventListener("change", ({ target }) => {
    start(target.files[0]);
    target.value = ""; // so that the same photo can be chosen again
  });
}
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  start(event.dataTransfer.files[0]);
});
$("slider").addEventListener("input", ({ target }) => slide(target.value));
$("cancel").addEventListener("click", () => ask());
$("jpeg").addEventListener("click", () => save("image/jpeg", "jpg"));
$("png").addEventListener("click", () => save("image/png", "png"));
addEventListener("beforeunload", (event) => { if (worker) event.preventDefault(); });
