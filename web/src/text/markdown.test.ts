import { describe, expect, it } from "vitest";

import { hiddenHost, safeLink } from "./link.js";
import { parseMarkdown, type Block, type Inline } from "./markdown.js";

/** A tree as nested words, to read expectations at a glance. */
function sketch(blocks: readonly Block[]): string {
  return blocks
    .map((block) => {
      if (block.type === "code") return `pre(${block.text})`;
      if (block.type === "quote") return `quote(${sketch(block.inside)})`;
      if (block.type === "list") return `${block.start ?? "-"}[${block.items.map(line).join("|")}]`;
      return `p(${line(block.inside)})`;
    })
    .join(" ");
}

function line(nodes: readonly Inline[]): string {
  return nodes
    .map((node) => {
      if (node.type === "text") return node.text;
      if (node.type === "break") return "/";
      if (node.type === "code") return `code(${node.text})`;
      if (node.type === "link") return `a(${node.text}>${node.target.href})`;
      return `${node.type === "strong" ? "b" : "i"}(${line(node.inside)})`;
    })
    .join("");
}

const md = (text: string): string => sketch(parseMarkdown(text));

describe("what people write", () => {
  it.each([
    ["plain", "p(plain)"],
    ["one\ntwo\n\nthree", "p(one/two) p(three)"],
    ["*soft* and **loud**", "p(i(soft) and b(loud))"],
    ["_soft_ and __loud__", "p(i(soft) and b(loud))"],
    ["***both***", "p(b(i(both)))"],
    ["**loud *and soft***", "p(b(loud i(and soft)))"],
    ["a snake_case_name stays", "p(a snake_case_name stays)"],
    ["2 * 3 * 4", "p(2 * 3 * 4)"],
    ["`a *b* c`", "p(code(a *b* c))"],
    ["``a ` b``", "p(code(a ` b))"],
    ["```js\nlet a = *1*;\n```\nafter", "pre(let a = *1*;) p(after)"],
    ["```\nnever closed", "pre(never closed)"],
    ["> said\n> so\nno", "quote(p(said/so)) p(no)"],
    ["- a\n- *b*\n\n1. c\n2. d", "-[a|i(b)] 1[c|d]"],
    ["7) seven", "7[seven]"],
    ["\\*not soft\\*", "p(*not soft*)"],
    ["see https://example.org/a_b_c.", "p(see a(https://example.org/a_b_c>https://example.org/a_b_c).)"],
    ["[here](https://example.org)", "p(a(here>https://example.org/))"],
    ["mailto:ida@example.org", "p(a(mailto:ida@example.org>mailto:ida@example.org))"],
  ])("%j", (text, expected) => expect(md(text)).toBe(expected));
});

describe("what hostile people write", () => {
  it.each([
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert)",
    "[x](data:text/html;base64,AAAA)",
    "[x](vbscript:x)",
    "[x](//evil.example)",
    "[x](https://bank.example@evil.example/)",
    "javascript:alert(1)",
  ])("%j is no link", (text) => expect(JSON.stringify(parseMarkdown(text))).not.toContain('"link"'));

  it("keeps tags as text", () => {
    expect(md("<script>alert(1)</script>")).toBe("p(<script>alert(1)</script>)");
    expect(md('<img src=x onerror="x">')).toBe('p(<img src=x onerror="x">)');
  });

  it.each([
    ["*a ".repeat(50_000)],
    ["*".repeat(100_000)],
    ["_*".repeat(50_000)],
    ["`".repeat(100_001)],
    ["` `` ``` ".repeat(20_000)],
    ["[".repeat(100_000)],
    ["[a](".repeat(30_000)],
    ["https://".repeat(20_000)],
    [">".repeat(100_000)],
    ["> ".repeat(50_000)],
    ["> \n".repeat(50_000)],
    ["\\".repeat(100_000)],
    ["**a*".repeat(40_000)],
    ["x".repeat(1_000_000)],
  ])("is read in linear time: %.12j", (text) => {
    const before = performance.now();
    parseMarkdown(text);
    // A quadratic reader takes minutes for these.
    expect(performance.now() - before).toBeLessThan(3000);
  });

  it("loses no visible character", () => {
    for (const text of ["**a* b", "`a ``b", "[a](b", "*a _b* c_", "***a**", "[x](ftp://y)"]) {
      const shown = md(text).replace(/^p\(|\)$/gu, "");
      const letters = (all: string): string => all.replace(/[^a-z]/gu, "");
      expect(letters(shown.replace(/\b[bi]\(|code\(/gu, ""))).toBe(letters(text));
    }
  });
});

describe("where a link leads", () => {
  it.each([
    ["https://example.org/x", "https://example.org/x", undefined],
    ["example.org", "https://example.org/", undefined],
    ["click here", "https://example.org/", "example.org"],
    ["https://bank.example", "https://evil.example/", "evil.example"],
    ["example.org.evil", "https://example.org/", "example.org"],
    ["https://exаmple.org", "https://exаmple.org", "xn--exmple-4nf.org"],
    ["ida@example.org", "mailto:ida@example.org", undefined],
    ["write to me", "mailto:eve@example.org", "eve@example.org"],
  ])("%s to %s", (text, href, expected) => expect(hiddenHost(text, safeLink(href)!)).toBe(expected));
});
