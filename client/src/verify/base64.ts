/** Base64, read by the platform: in wasm that would take longer than everything else that is checked of a block. */

/** What has `Uint8Array.fromBase64`: Chrome 140, Firefox 133, Safari 18.2, Node.js 25. */
interface Decoder {
  fromBase64?(text: string): Uint8Array;
}

/** What Node.js and Bun have. */
interface Runtime {
  readonly Buffer?: { from(text: string, encoding: "base64"): Uint8Array };
}

/** The bytes that base64 stands for. Text that is no base64 throws, or becomes bytes that are no block. */
export function bytesOf(base64: string): Uint8Array {
  const decoder = Uint8Array as unknown as Decoder;
  if (decoder.fromBase64 !== undefined) return decoder.fromBase64(base64);
  const { Buffer } = globalThis as Runtime;
  if (Buffer !== undefined) return Buffer.from(base64, "base64");
  const characters = atob(base64);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}
