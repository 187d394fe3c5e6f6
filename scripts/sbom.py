#!/usr/bin/env python3
"""Writes the list of parts of the program (CycloneDX 1.5) from `cargo metadata`; scripts/release calls it.

Usage: cargo metadata … | sbom.py TIME COMMIT
       sbom.py --check FILE Cargo.lock      every part is in the lock file, with its checksum
"""

import json
import sys
import tomllib


def parts(metadata):
    """The packages that the program is built of, without those that only its tests need."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    seen, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for dependency in nodes[current]["deps"]:
            # None is an ordinary one; what is only for building is part of how the program came to be.
            if any(kind["kind"] in (None, "build") for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return metadata["resolve"]["root"], nodes, {key: packages[key] for key in seen}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def write(time, commit):
    metadata = json.load(sys.stdin)
    root, nodes, packages = parts(metadata)
    lock = checksums("Cargo.lock")

    def component(package, kind="library"):
        found = {
            "type": kind,
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(package),
        }
        if package.get("license"):
            found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        checksum = lock.get((package["name"], package["version"]))
        if checksum:
            found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return found

    others = sorted((package for key, package in packages.items() if key != root), key=purl)
    depends = [
        {
            "ref": purl(package),
            "dependsOn": sorted(purl(packages[it["pkg"]]) for it in nodes[key]["deps"] if it["pkg"] in packages),
        }
        for key, package in sorted(packages.items())
    ]
    program = component(packages[root], "application")
    program["properties"] = [{"name": "commit", "value": commit}]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": time, "component": program},
        "components": [component(package) for package in others],
        "dependencies": depends,
    }
    json.dump(document, sys.stdout, indent=1)
    print()


def checksums(path):
    with open(path, "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(it["name"], it["version"]): it.get("checksum") for it in packages}


def check(path, lock):
    with open(path) as file:
        document = json.load(file)
    known = checksums(lock)
    wrong = []
    for part in document["components"]:
        checksum = known.get((part["name"], part["version"]))
        if checksum is None or part.get("hashes", [{}])[0].get("content") != checksum:
            wrong.append(part["purl"])
    if wrong or not document["components"]:
        sys.exit(f"not in {lock} as they are: {', '.join(wrong) or 'no part at all'}")
    without = [part["purl"] for part in document["components"] if "licenses" not in part]
    print(f"{len(document['components'])} parts, each with its checksum; without a licence: {', '.join(without) or 'none'}")


if sys.argv[1] == "--check":
    check(sys.argv[2], sys.argv[3])
else:
    write(sys.argv[1], sys.argv[2])
