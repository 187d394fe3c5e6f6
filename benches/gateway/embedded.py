"""Serves TensorZero's own gateway, which its Python client embeds. Usage: embedded.py CONFIG; prints its address."""

import sys
import time

from openai import OpenAI
from tensorzero import patch_openai_client

client = OpenAI(api_key="none")
patch_openai_client(client, config_file=sys.argv[1], async_setup=False)
print(client.base_url, flush=True)
while True:
    time.sleep(3600)
