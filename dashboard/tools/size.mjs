// Fails where the first load is heavier than its budget: index.html with all that it names.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

const BUDGET = 300 * 1024;
const dist = path.join(import.meta.dirname, '../dist');
const html = readFileSync(path.join(dist, 'index.html'), 'utf8');
const named = [...html.matchAll(/(?:src|href)="\/dashboard\/([^"]+)"/g)].map((match) => match[1]);
let sum = gzipSync(html, { level: 9 }).length;
for (const name of named) sum += gzipSync(readFileSync(path.join(dist, name)), { level: 9 }).length;
console.log(`first load: ${(sum / 1024).toFixed(1)} KB compressed of ${BUDGET / 1024}, in ${named.length + 1} files`);
if (sum > BUDGET) process.exit(1);
