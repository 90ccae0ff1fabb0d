// Measures and enhances one photo, tile by tile. The page ends this worker afterwards: WebAssembly
// never gives memory back.
import { getWebGpuDevice, loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import { corners, cut, kept, pooled, spans } from "./tiles.js";

// Where LiteRT's script looks for its .wasm file.
self.Module = { locateFile: (name) => new URL(`wasm/${name}`, self.location).href };

self.onmessage = async ({ data: photo }) => {
  try {
    const { model, described, heap } = await loaded();
    await enhance(model, described, photo);
    postMessage({ done: true, accelerated: model.isFullyAccelerated, heap: heap() });
  } catch (error) {
    postMessage({ error: said(error) });
  }
};

// The sentence that the page shows for an error.
function said(error) {
  const text = String(error?.message ?? error);
  if (error instanceof Failure) return text;
  // The model is checked before it runs. So WebAssembly stops itself only if its memory cannot grow.
  if (error instanceof WebAssembly.RuntimeError || /memory|alloc|abort|OOM/i.test(text)) {
    return "This device has too little memory. Close other pages, or choose a smaller photo.";
  }
  return `The photo could not be enhanced (${text}).`;
}

class Failure extends Error {}

const AGAIN = "Check the connection and try again.";

async function loaded() {
  const lite = await loadLiteRt("./wasm/").catch((error) => {
    throw new Failure(`The program could not be loaded (${error.message}). Try again.`);
  });
  if (getWebGpuDevice()) {
    // If WebGPU does not take the whole model, the processor is faster, with its own file. LiteRT.js
    // may have gone over to the processor already.
    const found = await compiled("webgpu").catch(() => null);
    if (found?.model.isFullyAccelerated && found.model.options.accelerator === "webgpu") {
      return { ...found, heap: () => lite.liteRtWasm.HEAPU8.length };
    }
    found?.model.delete();
  }
  return { ...(await compiled("wasm")), heap: () => lite.liteRtWasm.HEAPU8.length };
}

async function compiled(accelerator) {
  const described = await (await fetched(`${accelerator}.json`)).json().catch(() => {
    // As from a network that answers with its own page for signing in.
    throw new Failure(`The model could not be loaded. ${AGAIN}`);
  });
  const bytes = new Uint8Array(await (await fetched(`${accelerator}.tflite`)).arrayBuffer());
  await check(bytes, described);
  try {
    const model = await loadAndCompile(bytes, { accelerator, gpuOptions: { precision: "fp32" } });
    for (const name of ["enhance", ...(described.measure ? ["measure"] : [])]) {
      if (!model.signatures[name]) throw new Error(`it has no signature ${name}`);
    }
    return { model, described };
  } catch (error) {
    throw new Failure(`The model cannot be used: ${error.message ?? error}.`);
  }
}

async function fetched(name) {
  const answer = await fetch(`model/${name}`).catch(() => {
    throw new Failure(`The model could not be loaded. ${AGAIN}`);
  });
  if (!answer.ok) throw new Failure(`The model could not be loaded (${answer.status}). ${AGAIN}`);
  const body = await answer.blob().catch(() => {
    throw new Failure(`The download of the model was interrupted. ${AGAIN}`);
  });
  return new Response(body);
}

async function check(bytes, described) {
  if (!self.crypto.subtle) return; // Only pages with https have it.
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const text = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (text !== described.sha256) {
    throw new Failure("The model is damaged: it is not the file that was published. Reload the page.");
  }
}

async function enhance(model, described, photo) {
  const [, height, width] = described.input.shape;
  // A photo smaller than a tile is mirrored at its edges, up to the size of a tile.
  const rows = spans(Math.max(photo.height, height), height, described.margin);
  const columns = spans(Math.max(photo.width, width), width, described.margin);
  const calls = described.measure ? described.measure.places.length / described.measure.input.shape[0] : 0;
  const total = calls + rows.length * columns.length;
  let done = 0;
  const step = (tile) => postMessage({ share: ++done / total, ...tile }, tile ? [tile.pixels.buffer] : []);

  const moments = calls ? await measured(model, described.measure, photo, calls, step) : {};
  const floats = new Float32Array(3 * height * width);
  for (const [above, top, bottom] of rows) {
    for (const [beside, left, right] of columns) {
      cut(photo, above, beside, height, width, floats);
      const { enhanced } = await run(model, "enhance", {
        photo: [floats, [1, height, width, 3]],
        ...moments,
      });
      const [low, end] = [Math.min(bottom, photo.height), Math.min(right, photo.width)];
      const size = { top, left, height: low - top, width: end - left };
      if (size.height <= 0 || size.width <= 0) continue;
      const pixels = kept(enhanced, width, top - above, low - above, left - beside, end - beside);
      step({ pixels, ...size });
    }
  }
}

async function measured(model, measure, photo, calls, step) {
  const [count, side] = measure.input.shape;
  const places = corners(measure.places, side, photo.height, photo.width);
  const patches = new Float32Array(3 * count * side * side);
  const found = { mean: [], variance: [] };
  for (let call = 0; call < calls; call++) {
    places.slice(call * count, (call + 1) * count).forEach(([top, left], k) => {
      cut(photo, top, left, side, side, patches, 3 * k * side * side);
    });
    const moments = await run(model, "measure", { patches: [patches, measure.input.shape] });
    found.mean.push(moments.mean);
    found.variance.push(moments.variance);
    step();
  }
  const [mean, variance] = pooled(found.mean, found.variance);
  return { mean: [mean, measure.moments.shape], variance: [variance, measure.moments.shape] };
}

// Runs a signature: name → [values, shape] to name → values.
async function run(model, signature, inputs) {
  const tensors = Object.entries(inputs).map(([name, given]) => [name, new Tensor(...given)]);
  const outputs = await model.run(signature, Object.fromEntries(tensors));
  const values = {};
  for (const [name, tensor] of Object.entries(outputs)) values[name] = await tensor.data();
  for (const tensor of [...tensors.map(([, t]) => t), ...Object.values(outputs)]) tensor.delete();
  return values;
}
