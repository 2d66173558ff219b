import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { MESSAGE_BYTES, Requests, type RequestLimits, type Send } from "./requests.js";

interface Sent {
  readonly event: string;
  readonly args: readonly unknown[];
  readonly answer: (value: unknown) => void;
}

function connection(): { readonly sent: Sent[]; readonly send: Send } {
  const sent: Sent[] = [];
  const send: Send = (event, args, answer) => void sent.push({ event, args: JSON.parse(`[${args}]`) as unknown[], answer });
  return { sent, send };
}

function requests(limits: Partial<RequestLimits> = {}): Requests {
  return new Requests({ inFlight: 2, inFlightBytes: 1e6, queued: 3, queuedBytes: 1e6, timeout: 1000, ...limits });
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("requests wait for the connection and keep their order and their window", async () => {
  const waiting = requests();
  const answers = ["a", "b", "c"].map((name) => waiting.ask("append", [name], "reject"));
  const { sent, send } = connection();
  waiting.connected(send);
  expect(sent.map(({ args }) => args)).toEqual([["a"], ["b"]]);
  sent[0]!.answer({ ok: true, name: "a" });
  expect(await answers[0]).toEqual({ ok: true, name: "a" });
  expect(sent.map(({ args }) => args)).toEqual([["a"], ["b"], ["c"]]);
});

test("a full queue refuses and sends nothing", async () => {
  const waiting = requests({ queued: 1 });
  const first = waiting.ask("append", [1], "reject");
  await expect(waiting.ask("append", [2], "reject")).rejects.toMatchObject({ code: "queue_full" });
  const { sent, send } = connection();
  waiting.connected(send);
  sent[0]!.answer({ ok: true });
  await first;
  expect(sent).toHaveLength(1);
});

test("what is on its way and what waits is bounded in bytes too", async () => {
  const waiting = requests({ inFlight: 100, inFlightBytes: 3000, queued: 100, queuedBytes: 2000 });
  const { sent, send } = connection();
  waiting.connected(send);
  const text = "x".repeat(700);
  const asked = [text, text, text, text].map((value) => waiting.ask("append", [value], "reject"));
  expect(sent).toHaveLength(3);
  const tooMuch = "y".repeat(2000);
  await expect(waiting.ask("append", [tooMuch], "reject")).rejects.toMatchObject({ code: "queue_full" });
  sent[0]!.answer({ ok: true });
  await asked[0];
  expect(sent).toHaveLength(4);
  for (const { answer } of sent) answer({ ok: true });
  await Promise.all(asked);
});

test("a lost connection settles appends as unknown and asks reads again, before what waited", async () => {
  const waiting = requests();
  const first = connection();
  waiting.connected(first.send);
  const append = waiting.ask("append", [1], "reject");
  const read = waiting.ask("read", [2], "resend");
  const later = waiting.ask("append", [3], "reject");
  waiting.disconnected();
  await expect(append).rejects.toMatchObject({ code: "outcome_unknown" });
  const second = connection();
  waiting.connected(second.send);
  expect(second.sent.map(({ args }) => args)).toEqual([[2], [3]]);
  for (const { answer } of second.sent) answer({ ok: true });
  await read;
  await later;
  // A late answer on the old connection is nobody's.
  first.sent[0]!.answer({ ok: true });
});

test("time runs out as `timeout` before sending, as unknown for an append after it", async () => {
  const waiting = requests();
  const unsent = waiting.ask("append", [1], "reject");
  const checkUnsent = expect(unsent).rejects.toMatchObject({ code: "timeout" });
  await vi.advanceTimersByTimeAsync(1000);
  await checkUnsent;
  const { sent, send } = connection();
  waiting.connected(send);
  expect(sent).toHaveLength(0);
  const checks = [
    expect(waiting.ask("append", [2], "reject")).rejects.toMatchObject({ code: "outcome_unknown" }),
    expect(waiting.ask("read", [3], "resend")).rejects.toMatchObject({ code: "timeout" }),
  ];
  await vi.advanceTimersByTimeAsync(1000);
  await Promise.all(checks);
});

test("the node's error is the caller's error", async () => {
  const waiting = requests();
  const { sent, send } = connection();
  waiting.connected(send);
  const refused = waiting.ask("append", [1], "reject");
  sent[0]!.answer({
    ok: false,
    error: { code: "payload_too_large", message: "payload of 70000 bytes, limit is 65536" },
  });
  await expect(refused).rejects.toMatchObject({
    code: "payload_too_large",
    message: "payload of 70000 bytes, limit is 65536",
  });
  const strange = waiting.ask("append", [1], "reject");
  sent[1]!.answer("yes");
  await expect(strange).rejects.toMatchObject({ code: "unexpected_answer" });
});

test("what is sent is the value's JSON at the time of the call", async () => {
  const waiting = requests({ queued: 10 });
  const value = { text: "before", when: new Date(0), nothing: undefined };
  void waiting.ask("append", [value], "reject").catch(() => {});
  value.text = "after";
  const { sent, send } = connection();
  waiting.connected(send);
  expect(sent[0]!.args).toEqual([{ text: "before", when: "1970-01-01T00:00:00.000Z" }]);
});

test("values without JSON and messages that are too large are refused before they are sent", async () => {
  const waiting = requests();
  const circular: { self?: unknown } = {};
  circular.self = circular;
  for (const value of [undefined, () => 1, circular, 1n]) {
    await expect(waiting.ask("append", [value], "reject")).rejects.toMatchObject({ code: "not_json" });
  }
  const large = "ä".repeat(MESSAGE_BYTES / 2);
  await expect(waiting.ask("append", [large], "reject")).rejects.toMatchObject({ code: "message_too_large" });
});

/** Appends these values at once. */
function append(to: Requests, ...values: readonly unknown[]): Promise<unknown>[] {
  return values.map((value) => to.ask("add_ledger_entry", [value], "reject"));
}

test("appends that are made at once go in one message, and each has its own answer", async () => {
  const waiting = requests({ inFlight: 10, queued: 10 });
  const { sent, send } = connection();
  waiting.connected(send);
  const appended = append(waiting, "a", "b", "c");
  const read = waiting.ask("read", [], "resend");
  const later = append(waiting, "d");
  await Promise.resolve();
  expect(sent.map(({ event, args }) => [event, args])).toEqual([
    ["append_many", [["a", "b", "c"]]],
    ["read", []],
    ["add_ledger_entry", ["d"]],
  ]);
  sent[0]!.answer({ ok: true, entries: [1, 2, 3] });
  sent[1]!.answer({ ok: true });
  sent[2]!.answer({ ok: true, entry: 4 });
  expect(await Promise.all([...appended, ...later])).toEqual([1, 2, 3, 4].map((entry) => ({ ok: true, entry })));
  await read;
});

test("appends go together as far as there is room for them, and a large one alone", async () => {
  const waiting = requests({ inFlight: 150, queued: 1000 });
  const { sent, send } = connection();
  waiting.connected(send);
  const values = ["x".repeat(4000), ...Array.from({ length: 200 }, (_, number) => number)];
  const appended = append(waiting, ...values);
  await Promise.resolve();
  const counts = (): number[] => sent.map(({ event, args }) => (event === "append_many" ? (args[0] as unknown[]).length : 1));
  expect(counts()).toEqual([1, 128, 21]);
  for (let n = 0; n < sent.length; n++) {
    const { event, args, answer } = sent[n]!;
    answer(event === "append_many" ? { ok: true, entries: args[0] } : { ok: true, entry: args[0] });
  }
  expect(counts().reduce((sum, count) => sum + count)).toBe(201);
  expect(await Promise.all(appended)).toEqual(values.map((entry) => ({ ok: true, entry })));
});

test("what the node says of appends that went together holds for each", async () => {
  const waiting = requests({ inFlight: 10, queued: 10 });
  const { sent, send } = connection();
  waiting.connected(send);
  const refused = append(waiting, 1, 2);
  await Promise.resolve();
  sent[0]!.answer({ ok: false, error: { code: "lane_frozen", message: "this node's lane is frozen" } });
  for (const each of refused) await expect(each).rejects.toMatchObject({ code: "lane_frozen" });
  const strange = append(waiting, 1, 2);
  await Promise.resolve();
  sent[1]!.answer({ ok: true, entries: [1] });
  for (const each of strange) await expect(each).rejects.toMatchObject({ code: "unexpected_answer" });
  const lost = append(waiting, 1, 2);
  await Promise.resolve();
  waiting.disconnected();
  for (const each of lost) await expect(each).rejects.toMatchObject({ code: "outcome_unknown" });
  expect(sent).toHaveLength(3);
});

test("each request has its own time", async () => {
  const waiting = requests({ inFlight: 10, queued: 10 });
  const { sent, send } = connection();
  waiting.connected(send);
  const [first] = append(waiting, 1);
  const checkFirst = expect(first).rejects.toMatchObject({ code: "outcome_unknown" });
  await vi.advanceTimersByTimeAsync(600);
  const [second] = append(waiting, 2);
  await vi.advanceTimersByTimeAsync(400);
  await checkFirst;
  expect(vi.getTimerCount()).toBe(1);
  sent[1]!.answer({ ok: true, entry: 2 });
  expect(await second).toEqual({ ok: true, entry: 2 });
  expect(vi.getTimerCount()).toBe(0);
});

test("closing settles everything", async () => {
  const waiting = requests();
  const { send } = connection();
  const queued = waiting.ask("read", [], "resend");
  const checkQueued = expect(queued).rejects.toMatchObject({ code: "closed" });
  waiting.connected(send);
  const checkSent = expect(waiting.ask("append", [1], "reject")).rejects.toMatchObject({ code: "outcome_unknown" });
  waiting.close();
  await Promise.all([checkQueued, checkSent]);
  await expect(waiting.ask("read", [], "resend")).rejects.toMatchObject({ code: "closed" });
});
