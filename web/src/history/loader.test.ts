import type { History, HistoryRequest } from "@cairn/client";
import { describe, expect, test, vi } from "vitest";

import { answer, ledger } from "./fixture.js";
import { Loader } from "./loader.js";
import { EMPTY, reduce, type View, type ViewEvent } from "./view.js";

const BLOCKS = ledger({ people: 4, blocks: 8_000 });

/** A viewer with a node that answers when it is told to. */
function viewer(): {
  readonly loader: Loader;
  readonly asked: HistoryRequest[];
  readonly view: () => View;
  readonly dispatch: (event: ViewEvent) => void;
  readonly answerNext: () => Promise<void>;
  readonly failNext: (message: string) => Promise<void>;
} {
  let view = reduce(EMPTY, { type: "resized", width: 900 });
  const asked: HistoryRequest[] = [];
  const waiting: { resolve: (history: History) => void; reject: (error: Error) => void; request: HistoryRequest }[] = [];
  const history = (request: HistoryRequest = {}): Promise<History> => {
    asked.push(request);
    return new Promise((resolve, reject) => waiting.push({ resolve, reject, request }));
  };
  const dispatch = (event: ViewEvent): void => {
    view = reduce(view, event);
  };
  const turn = async (act: (next: (typeof waiting)[number]) => void): Promise<void> => {
    const next = waiting.shift();
    if (next === undefined) throw new Error("nothing was asked");
    act(next);
    await vi.waitFor(() => Promise.resolve());
  };
  return {
    loader: new Loader({ history }, () => view, dispatch),
    asked,
    view: () => view,
    dispatch,
    answerNext: () => turn(({ resolve, request }) => resolve(answer(BLOCKS, request))),
    failNext: (message) => turn(({ reject }) => reject(new Error(message))),
  };
}

describe("the loader", () => {
  test("however often the view moves, one request is under way, and the next is for where it stands then", async () => {
    const { loader, asked, view, dispatch, answerNext } = viewer();
    loader.look();
    await answerNext();
    dispatch({ type: "zoomed", factor: 0.02 });
    loader.look();
    expect(asked).toHaveLength(2);
    for (let step = 0; step < 20; step += 1) {
      dispatch({ type: "panned", share: 0.8 });
      loader.look();
    }
    expect(asked).toHaveLength(2);
    await answerNext();
    await vi.waitFor(() => expect(asked).toHaveLength(3));
    expect(asked[2]!.from).toBeLessThan(view().span!.from);
    expect(asked[2]!.to).toBeGreaterThan(view().span!.to);
  });

  test("a failure is said, is not asked again by itself, and can be tried again", async () => {
    const { loader, asked, view, failNext, answerNext } = viewer();
    loader.look();
    await failNext("no answer within 30000 ms");
    await vi.waitFor(() => expect(view().failure).toContain("no answer within 30000 ms"));
    loader.look();
    expect(asked).toHaveLength(1);
    void loader.retry();
    await answerNext();
    await vi.waitFor(() => expect(view().failure).toBeNull());
    expect(view().whole).not.toBeNull();
  });

  test("a ledger that grows fast is not read for every entry", () => {
    vi.useFakeTimers();
    try {
      const { loader, asked } = viewer();
      for (let entry = 0; entry < 500; entry += 1) loader.refresh();
      expect(asked).toHaveLength(0);
      vi.advanceTimersByTime(1_000);
      expect(asked).toHaveLength(1);
      for (let entry = 0; entry < 500; entry += 1) loader.refresh();
      vi.advanceTimersByTime(10_000);
      expect(asked, "while the first answer has not come").toHaveLength(1);
      loader.close();
    } finally {
      vi.useRealTimers();
    }
  });
});
