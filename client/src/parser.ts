/** Socket.IO's messages, where what is sent may be JSON already. */

import { Decoder, Encoder, type Packet } from "socket.io-parser";

/** The arguments of an event as JSON, one behind the other. They go out as they are: nobody reads them only to write them again. */
export class Json {
  constructor(readonly text: string) {}
}

class JsonEncoder extends Encoder {
  override encode(packet: Packet): unknown[] {
    const [event, args] = Array.isArray(packet.data) ? (packet.data as unknown[]) : [];
    if (!(args instanceof Json)) return super.encode(packet);
    const [without] = super.encode({ ...packet, data: [event] }) as [string];
    return args.text === "" ? [without] : [`${without.slice(0, -1)},${args.text}]`];
  }
}

/** For the option of that name. */
export const parser = { Encoder: JsonEncoder, Decoder };
