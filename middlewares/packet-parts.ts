/**
 * Packets that are larger than a message of NATS may be (1 MB, unless its server says otherwise) go in parts: a Write of saas has up
 * to 16 MB, a task with its input and its output more than one. Others go as they are.
 */
import { randomBytes } from "node:crypto";
import type { Middleware, ServiceBroker } from "moleculer";
import { LongshoreError } from "../lib/errors.ts";

const PART_BYTES = 512 * 1024;
const MAX_PACKET_BYTES = 64 * 1024 * 1024;
/** Of all packets of which parts are missing. */
const MAX_UNFINISHED_BYTES = 4 * MAX_PACKET_BYTES;
/** Parts follow each other at once: after so long without one its sender is gone. */
const UNFINISHED_MS = 10_000;

/** The only byte that no value of MessagePack begins with; then the packet's id, its length, and where in it the part begins. */
const MARK = 0xc1;
const ID_BYTES = 12;
const HEAD_BYTES = 1 + ID_BYTES + 4 + 4;

/** What of a packet of Moleculer is looked at: that of an answer. */
interface Packet {
  type: string;
  target: string;
  payload: { id: string; meta: object; headers: object; success?: boolean };
}

type Send = (topic: string, data: Buffer, meta: { packet: Packet }) => Promise<void>;
type Receive = (command: string, data: Buffer) => unknown;

export function packetParts(broker: ServiceBroker): Middleware {
  const unfinished = new UnfinishedPackets((why) => broker.logger.error(`a packet of another node is lost: ${why}`));
  const hooks = {
    name: "PacketParts",
    transporterSend(next: Send): Send {
      const sendParts: Send = async (topic, data, meta) => {
        try {
          await Promise.all(partsOf(data).map((part) => next(topic, part, meta)));
        } catch (error) {
          const { type, target, payload } = meta.packet;
          if (type !== "RES" || !payload.success) throw error;
          // Else its caller would wait for nothing.
          await broker.transit!.sendResponse(
            target,
            payload.id,
            payload.meta,
            payload.headers,
            null as never,
            error as Error,
          );
        }
      };
      return (topic, data, meta) => (data.length > PART_BYTES ? sendParts : next)(topic, data, meta);
    },
    transporterReceive(next: Receive): Receive {
      return (command, data) => {
        const whole = data[0] === MARK ? unfinished.add(data) : data;
        return whole && next(command, whole);
      };
    },
  };
  // Moleculer's types have for each hook what its function answers.
  return hooks as unknown as Middleware;
}

/** Throws RESOURCE_EXHAUSTED where even parts are no way. */
function partsOf(packet: Buffer): Buffer[] {
  if (packet.length > MAX_PACKET_BYTES) {
    const size = `${Math.ceil(packet.length / 1_048_576)} MB`;
    throw new LongshoreError("RESOURCE_EXHAUSTED", `the message is larger than what goes between nodes: ${size} of 64`);
  }
  const id = randomBytes(ID_BYTES);
  const parts: Buffer[] = [];
  for (let start = 0; start < packet.length; start += PART_BYTES) {
    const content = packet.subarray(start, start + PART_BYTES);
    const part = Buffer.allocUnsafe(HEAD_BYTES + content.length);
    part[0] = MARK;
    id.copy(part, 1);
    part.writeUInt32BE(packet.length, 1 + ID_BYTES);
    part.writeUInt32BE(start, 1 + ID_BYTES + 4);
    content.copy(part, HEAD_BYTES);
    parts.push(part);
  }
  return parts;
}

interface Unfinished {
  packet: Buffer;
  missing: number;
  timer: NodeJS.Timeout;
}

/** Packets of which some parts have come. One sender's parts come in its order; of several senders they mix. */
class UnfinishedPackets {
  readonly #onLoss: (why: string) => void;
  readonly #packets = new Map<string, Unfinished>();
  #bytes = 0;

  constructor(onLoss: (why: string) => void) {
    this.#onLoss = onLoss;
  }

  /** The packet, when it is whole. */
  add(part: Buffer): Buffer | undefined {
    const id = part.toString("latin1", 1, 1 + ID_BYTES);
    const length = part.readUInt32BE(1 + ID_BYTES);
    const start = part.readUInt32BE(1 + ID_BYTES + 4);
    const content = part.subarray(HEAD_BYTES);
    const unfinished = this.#packets.get(id) ?? (start === 0 ? this.#begin(id, length) : undefined);
    if (!unfinished) return undefined;
    content.copy(unfinished.packet, start);
    unfinished.missing -= content.length;
    if (unfinished.missing > 0) {
      unfinished.timer.refresh();
      return undefined;
    }
    this.#forget(id);
    return unfinished.packet;
  }

  #begin(id: string, length: number): Unfinished | undefined {
    if (length > MAX_PACKET_BYTES) return this.#lose(`it has ${length} bytes`);
    if (this.#bytes + length > MAX_UNFINISHED_BYTES) return this.#lose("too many come at once");
    const giveUp = () => {
      this.#forget(id);
      this.#lose(`no further part came within ${UNFINISHED_MS / 1_000} s`);
    };
    const timer = setTimeout(giveUp, UNFINISHED_MS).unref();
    const unfinished = { packet: Buffer.allocUnsafe(length), missing: length, timer };
    this.#packets.set(id, unfinished);
    this.#bytes += length;
    return unfinished;
  }

  #forget(id: string): void {
    const { packet, timer } = this.#packets.get(id)!;
    clearTimeout(timer);
    this.#packets.delete(id);
    this.#bytes -= packet.length;
  }

  #lose(why: string): undefined {
    this.#onLoss(why);
  }
}
