/** Gives the person a file. */

export function download(name: string, parts: readonly BlobPart[], type: string): void {
  const url = URL.createObjectURL(new Blob([...parts], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name.replace(/[^\p{L}\p{N}._-]+/gu, "-");
  link.click();
  // The browser has taken what it needs once this turn is over; a minute is for slow ones.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
