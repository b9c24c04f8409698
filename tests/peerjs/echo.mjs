// echo.mjs PORT ID: the original client sends back whatever comes.
import { join } from "./original.mjs";

const [, , port, id] = process.argv;
const peer = join(id, port);
peer.on("open", () => console.log("ready"));
peer.on("connection", (connection) => {
  connection.on("data", (data) => {
    // Here the first data may come before the connection says that it is open, and until then it refuses to send.
    if (connection.open) connection.send(data);
    else connection.once("open", () => connection.send(data));
  });
});
