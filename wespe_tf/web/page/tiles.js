// The places of a photo's patches and tiles, the same as in wespe_tf/enhance/{windows,litert}.py.

// Places of windows along one side: [start, first pixel that it gives, pixel after the last one].
export function spans(length, window, margin) {
  const found = [];
  for (let done = 0; done < length; ) {
    const start = Math.min(Math.max(done - margin, 0), length - window);
    const end = start + window === length ? length : start + window - margin;
    found.push([start, done, end]);
    done = end;
  }
  return found;
}

// Writes a rectangle of an RGBA photo as RGB floats in [0, 1] into `target`, from `offset` on.
// The photo is mirrored at its right and lower edges.
export function cut(photo, top, left, height, width, target, offset = 0) {
  const columns = Array.from({ length: width }, (_, x) => 4 * mirrored(left + x, photo.width));
  for (let y = 0; y < height; y++) {
    const row = 4 * photo.width * mirrored(top + y, photo.height);
    for (const column of columns) {
      for (let c = 0; c < 3; c++) target[offset++] = photo.data[row + column + c] / 255;
    }
  }
}

function mirrored(place, length) {
  const inside = place % (2 * length);
  return inside < length ? inside : 2 * length - 1 - inside;
}

// Upper left corners of the patches that stand for a photo.
export function corners(places, side, height, width) {
  const room = [height, width].map((length) => Math.max(length, side) - side + 1);
  return places.map((place) => place.map((share, axis) => Math.floor(share * room[axis])));
}

// Moments of all patches from those of each call: [mean, variance] as Float32Arrays.
export function pooled(means, variances) {
  const average = (lists) =>
    Float64Array.from(lists[0], (_, k) => lists.reduce((sum, list) => sum + list[k], 0) / lists.length);
  const mean = average(means);
  const apart = average(means.map((list) => Float64Array.from(list, (m, k) => (m - mean[k]) ** 2)));
  const within = average(variances);
  return [Float32Array.from(mean), Float32Array.from(within, (v, k) => v + apart[k])];
}

// The pixels of an enhanced tile that are kept, as RGBA bytes, clipped and rounded to even.
export function kept(enhanced, width, top, bottom, left, right) {
  const pixels = new Uint8ClampedArray(4 * (bottom - top) * (right - left)).fill(255);
  let offset = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++, offset += 4) {
      const at = 3 * (y * width + x);
      for (let c = 0; c < 3; c++) pixels[offset + c] = 255 * enhanced[at + c];
    }
  }
  return pixels;
}
