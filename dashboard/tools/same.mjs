// Fails where dist/ is not what the sources make: builds into a folder of its own and compares byte for byte. A .br only has
// to unpack to its file, so that another version of brotli is no difference.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { build } from 'vite';

const root = path.join(import.meta.dirname, '..');
const dist = path.join(root, 'dist');
const fresh = mkdtempSync(path.join(os.tmpdir(), 'modelramp-dist-'));
const files = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .toSorted();

try {
  await build({ root, logLevel: 'error', build: { outDir: fresh, emptyOutDir: true } });
  const faults = [];
  const made = files(fresh);
  const kept = files(dist);
  for (const name of made) {
    if (!kept.includes(name)) faults.push(`${name} is missing`);
    else if (!readFileSync(path.join(fresh, name)).equals(readFileSync(path.join(dist, name)))) faults.push(`${name} differs`);
  }
  for (const name of kept) {
    const plain = name.replace(/\.br$/, '');
    if (!made.includes(plain)) faults.push(`${name} is left over`);
    else if (plain !== name && !brotliDecompressSync(readFileSync(path.join(dist, name))).equals(readFileSync(path.join(dist, plain))))
      faults.push(`${name} does not unpack to ${plain}`);
  }
  if (faults.length > 0) {
    console.error(`dashboard/dist is not what the sources make; run \`npm run build\` in dashboard/ and check it in:`);
    for (const fault of faults) console.error(`  ${fault}`);
    process.exitCode = 1;
  } else {
    console.log(`dashboard/dist is what the sources make: ${made.length} files`);
  }
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
