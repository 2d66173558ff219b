/** What is left of a parsed text without its marks. */

import type { Block, Inline } from "./markdown.js";

export function plainText(blocks: readonly Block[]): string {
  return blocks.map(ofBlock).join(" ");
}

function ofBlock(block: Block): string {
  if (block.type === "code") return block.text;
  if (block.type === "quote") return plainText(block.inside);
  if (block.type === "list") return block.items.map(ofInlines).join(", ");
  return ofInlines(block.inside);
}

function ofInlines(nodes: readonly Inline[]): string {
  return nodes.map(ofInline).join("");
}

function ofInline(node: Inline): string {
  if (node.type === "break") return " ";
  return "inside" in node ? ofInlines(node.inside) : node.text;
}
