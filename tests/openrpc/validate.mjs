// Fetches the document of a running server and validates it: node validate.mjs http://host:port/rpc
import schemaUtils from "@open-rpc/schema-utils-js";

const { parseOpenRPCDocument, validateOpenRPCDocument } = schemaUtils;
const response = await fetch(process.argv[2], {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "rpc.discover" }),
});
const { result: document } = await response.json();

const verdict = validateOpenRPCDocument(structuredClone(document));
if (verdict !== true) {
  console.error(verdict.message);
  process.exit(1);
}
// Follows every reference as well; one that leads nowhere throws.
const parsed = await parseOpenRPCDocument(structuredClone(document), { dereference: true });
const left = JSON.stringify(parsed.methods).match(/"\$ref":"#\/\$defs/);
if (left) {
  console.error("a reference into $defs is left");
  process.exit(1);
}
// The validator must be one that bites.
if (validateOpenRPCDocument({ ...document, methods: [{ name: 7 }] }) === true) {
  console.error("the validator accepts anything");
  process.exit(1);
}
console.log(`valid: ${parsed.methods.length} methods`);
