// echo.mjs PORT ID: the original client sends back whatever comes.
import { join } from "./original.mjs";

const [, , port, id] = process.argv;
const peer = join(id, port);
peer.on("open", () => console.log("ready"));
peer.on("connection", (connection) => connection.on("data", (data) => connection.send(data)));
