// The original server on a free port of loopback, which it prints.
import { createRequire } from "node:module";
import { createServer } from "node:http";

const require = createRequire(import.meta.url);
const express = require("express");
const { ExpressPeerServer } = require("peer");

const app = express();
const server = createServer(app);
app.use("/", ExpressPeerServer(server, { path: "/" }));
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
