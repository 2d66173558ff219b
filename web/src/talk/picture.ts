/** Makes a picture small enough to be part of a note. */

/** Pixels of the longer side at first. */
const SIDE = 1600;
/** What is tried, in this order, before the picture is made smaller. */
const QUALITIES = [0.82, 0.66, 0.5];
/** Times that it is made smaller; each leaves two thirds of each side. */
const STEPS = 8;

/** The picture as a `data:` URL of so many characters at most; `null` where the file is none that the browser can draw. */
export async function shrink(file: Blob, room: number): Promise<string | null> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  try {
    let scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    for (let step = 0; step < STEPS; step += 1) {
      const canvas = draw(bitmap, scale);
      for (const quality of QUALITIES) {
        const url = canvas.toDataURL("image/webp", quality);
        // Browsers that write no WebP answer with PNG, which no photo is small in.
        const fit = url.startsWith("data:image/webp") ? url : canvas.toDataURL("image/jpeg", quality);
        if (fit.length <= room) return fit;
      }
      scale *= 2 / 3;
    }
    return null;
  } finally {
    bitmap.close();
  }
}

function draw(bitmap: ImageBitmap, scale: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("the browser gave no canvas");
  // JPEG knows no transparency; on white, drawings stay readable.
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}
