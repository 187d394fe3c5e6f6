// Fails where `tsc` would not notice that the server renamed a field: the pages are checked against a copy of the contract in
// which some have other names, and each of them has to be found.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const root = path.join(import.meta.dirname, '..');
// One that comes by the stream, one of a list, one of a change.
const FIELDS = ['leftMs', 'searchedTo', 'finishReason'];
const folder = mkdtempSync(path.join(root, '.renamed-'));
try {
  const contract = readFileSync(path.join(root, '../schema/app-router.ts'), 'utf8');
  let renamed = contract;
  for (const field of FIELDS) {
    const declared = new RegExp(`^( +)${field}(\\??: )`, 'm');
    if (!declared.test(renamed)) throw new Error(`${field} is not in the contract any more; name another field in tools/renamed.mjs`);
    renamed = renamed.replace(new RegExp(declared, 'gm'), `$1${field}Renamed$2`);
  }
  writeFileSync(path.join(folder, 'app-router.ts'), renamed);
  writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({
    extends: '../tsconfig.json',
    compilerOptions: { paths: { 'modelramp-schema': ['./app-router.ts'] } },
    include: ['../src'],
  }));
  const { stdout } = spawnSync(path.join(root, 'node_modules/.bin/tsc'), ['-p', folder, '--pretty', 'false'], { encoding: 'utf8' });
  const missed = FIELDS.filter((field) => !stdout.includes(`'${field}'`));
  if (missed.length > 0) {
    console.error(`tsc does not find that these were renamed: ${missed.join(', ')}\n${stdout}`);
    process.exitCode = 1;
  } else {
    console.log(`tsc finds ${FIELDS.length} renamed fields`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
