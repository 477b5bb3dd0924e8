// An unmodified grpc-js client: pulls an image, creates, attaches, starts, waits, removes, and sees the events of it, over
// the daemon's unix socket or over TCP with mutual TLS.
//
//   main.js PROTO IMAGE unix:SOCKET
//   main.js PROTO IMAGE HOST:PORT CERTIFICATES
//
// CERTIFICATES is the folder that deploy/certificates made.
"use strict";

const assert = require("node:assert");
const { once } = require("node:events");
const { readFileSync } = require("node:fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [proto, image, address, certificates] = process.argv.slice(2);
const [ca, key, certificate] = ["ca.pem", "key.pem", "cert.pem"].map(
  (name) => certificates && readFileSync(`${certificates}/${name}`),
);
const credentials = certificates
  ? grpc.credentials.createSsl(ca, key, certificate)
  : grpc.credentials.createInsecure();
const deadline = () => ({ deadline: Date.now() + 30_000 });

function client(file, find) {
  const definition = loader.loadSync(file, { includeDirs: [proto], longs: Number, enums: String, oneofs: true });
  const Service = find(grpc.loadPackageDefinition(definition).gantry);
  return new Service(address, credentials);
}

const images = client("gantry/images/v1/image_service.proto", (gantry) => gantry.images.v1.ImageService);
const events = client("gantry/events/v1/event_service.proto", (gantry) => gantry.events.v1.EventService);
const containers = client(
  "gantry/containers/v1/container_service.proto",
  (gantry) => gantry.containers.v1.ContainerService,
);

function unary(method, request) {
  return new Promise((resolve, reject) => {
    containers[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function main() {
  const kinds = [];
  const watch = events.watchEvents({ filter: "resource==container" }, deadline());
  const removed = new Promise((resolve, reject) => {
    watch.on("error", (error) => error.code === grpc.status.CANCELLED || reject(error));
    watch.on("data", (message) => {
      if (message.message === "event") kinds.push(message.event.kind);
      if (kinds.at(-1) === "EVENT_KIND_CONTAINER_REMOVE") resolve();
    });
  });
  await once(watch, "data");

  let result;
  const pull = images.pullImage({ name: image }, deadline());
  pull.on("data", (message) => (result = message.result ?? result));
  await once(pull, "end");
  assert.match(result.image.id, /^sha256:/);

  const process_ = { args: ["sh", "-c", "read line; echo read: $line; exit 7"], stdinOpen: true };
  const created = await unary("createContainer", { image, options: { process: process_ } });
  const id = created.container.id;
  let output = "";
  let code;
  const attach = containers.attachContainer(deadline());
  attach.on("data", async (message) => {
    if (message.message === "attached") {
      await unary("startContainer", { container: id });
      attach.write({ stdin: Buffer.from("hello\n") });
    }
    if (message.message === "output") output += message.output.data.toString();
    if (message.message === "exit") code = message.exit.code;
  });
  attach.write({ select: { container: id, stdin: true } });
  await once(attach, "end");
  attach.end();
  assert.strictEqual(output, "read: hello\n");
  assert.strictEqual(code, 7);
  assert.strictEqual((await unary("waitContainer", { container: id })).exit.code, 7);
  await unary("removeContainer", { container: id });
  await removed;
  watch.cancel();
  assert.deepStrictEqual(
    kinds,
    ["CREATE", "START", "EXIT", "REMOVE"].map((verb) => `EVENT_KIND_CONTAINER_${verb}`),
  );
  await assert.rejects(unary("getContainer", { container: "no-such" }), { code: grpc.status.NOT_FOUND });
  for (const stub of [images, events, containers]) stub.close();
  console.log("OK");
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
