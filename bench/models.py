"""The models that bench/bench measures: random weights, real shapes, written once into a folder."""
import os
import shutil
import subprocess
import sys

import measure

TYPES = ['Q4_0', 'Q4_K_M', 'Q5_K_M', 'Q6_K', 'Q8_0', 'F16', 'MXFP4']
SHAPES = {
    '1b': 'llama, 16 layers, width 2048, 128,256 tokens',
    '3b': 'llama, 28 layers, width 3072, 128,256 tokens',
    'experts': 'qwen3moe, 16 layers, width 1024, 64 experts, 6 used',
    'windows': 'gemma3, 26 layers, width 1152, window 512 in five of six layers, 262,144 tokens',
    'hybrid': 'qwen35, 24 layers, width 1024, gated delta-net in three of four layers, 248,320 tokens',
    'steady': 'as 1b, but what comes behind the first two layers adds next to nothing',
    'steady-small': 'the first two layers of steady, which say nearly the same',
    'service': 'llama, 6 layers, width 256, 8,192 tokens',
}
SERVICE = ['layers=6', 'd=256', 'ff=768', 'heads=8', 'kv=2', 'vocab=8192', 'ctx=16384', 'type=Q8_0']
# A new number where make_model writes other files than before.
VERSION = 1
# Bytes of the largest file, so that the folder's disk is not filled.
FILE_BYTES_MAX = 4 << 30


def default_folder():
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return os.environ.get('INGLE_BENCH_MODELS', os.path.join(cache, 'ingle-bench'))


def arguments(shape, kind):
    """What make_model is told: mixtures as `ingle quantize` makes them; MXFP4 has no mixture for dense models, so it is all
    matrices, with the embedding in Q8_0 as in files of that type."""
    if shape == 'service':
        return SERVICE
    words = {'steady': ['shape=1b', 'loud=2'], 'steady-small': ['shape=1b', 'loud=2', 'layers=2']}.get(shape, ['shape=' + shape])
    return words + (['type=MXFP4', 'embedding=Q8_0'] if kind == 'MXFP4' else ['mix=' + kind])


def get(build, folder, shape, kind):
    """Path of the model; writes it where it is not there yet."""
    path = os.path.join(folder, f'random-v{VERSION}-{shape}-{kind}.gguf')
    if os.path.exists(path):
        return path
    os.makedirs(folder, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < FILE_BYTES_MAX:
        sys.exit(f'{folder}: {free >> 20} MiB are free, a model may take {FILE_BYTES_MAX >> 20}. Type: bench/bench --models FOLDER')
    print(f'writing {path}', file=sys.stderr, flush=True)
    partial = f'{path}.{os.getpid()}'
    try:
        subprocess.run([measure.tool(build, 'make_model'), partial, *arguments(shape, kind)], check=True)
        with open(partial, 'rb') as f:
            os.fsync(f.fileno())
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)
    return path
