// The original client in Node: what it expects of a browser comes from @roamhq/wrtc (libwebrtc) and ws.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const wrtc = require("@roamhq/wrtc");

globalThis.window = globalThis;
globalThis.location = { protocol: "http:" };
Object.defineProperty(globalThis, "navigator", {
  value: { userAgent: "Mozilla/5.0 Chrome/120.0.0.0", platform: "linux", mediaDevices: {} },
  configurable: true,
});
globalThis.WebSocket = require("ws");
for (const name of ["RTCPeerConnection", "RTCSessionDescription", "RTCIceCandidate", "MediaStream"]) {
  globalThis[name] = wrtc[name];
}
globalThis.addEventListener ??= () => {};
globalThis.removeEventListener ??= () => {};

const { Peer } = require("peerjs");

export function join(id, port) {
  const peer = new Peer(id, { host: "127.0.0.1", port: Number(port), path: "/", config: { iceServers: [] }, debug: 0 });
  peer.on("error", (error) => console.log(`error ${error.type} ${error.message}`));
  return peer;
}
