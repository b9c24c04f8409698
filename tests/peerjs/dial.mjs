// dial.mjs PORT ID OTHER: the original client sends values to OTHER, and expects each of them back.
import { join } from "./original.mjs";

const [, , port, id, other] = process.argv;
const structured = { list: [1, -2.5, "ž", null, true] };
const values = {
  binary: [structured, "text", 0.1, 12345678901, new Uint8Array(1_000_000).fill(5), "z".repeat(50_000)],
  "binary-utf8": [structured, new Uint8Array([9, 8])],
  json: [structured, "text", 12345678901],
  raw: ["text", new Uint8Array([1, 2, 3]), new Uint8Array(200_000).fill(7)],
};

// One text for each value, whatever kind of buffer holds its bytes.
function textOf(value) {
  const bytes = value instanceof ArrayBuffer ? new Uint8Array(value) : value;
  return ArrayBuffer.isView(bytes) ? `bytes ${Buffer.from(bytes).toString("hex")}` : JSON.stringify(value);
}

function roundTrip(peer, serialization, reliable) {
  const sent = values[serialization];
  return new Promise((resolve, reject) => {
    const connection = peer.connect(other, { serialization, reliable, label: "js", metadata: { m: 1 } });
    const came = [];
    const timer = setTimeout(() => reject(new Error(`only ${came.length} of ${sent.length} came back`)), 20_000);
    connection.on("open", () => sent.forEach((value) => connection.send(value)));
    connection.on("data", (value) => {
      came.push(textOf(value));
      if (came.length < sent.length) return;
      clearTimeout(timer);
      connection.close();
      const same = came.sort().join("\n") === sent.map(textOf).sort().join("\n");
      if (same) resolve();
      else reject(new Error("other values came back"));
    });
  });
}

const peer = join(id, port);
peer.on("open", async () => {
  let failed = 0;
  for (const serialization of Object.keys(values)) {
    for (const reliable of [true, false]) {
      try {
        await roundTrip(peer, serialization, reliable);
      } catch (error) {
        failed += 1;
        console.log(`${serialization}, reliable ${reliable}: ${error.message}`);
      }
    }
  }
  console.log(failed === 0 ? "all came back" : `${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
});
