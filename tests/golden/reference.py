#!/usr/bin/env python3
"""Writes tests/data/archs-extra anew: logits and greedy ids of the models of make_archs.c, computed by llama.cpp.

    reference.py PEER TEST_ARCHS OUT [CASE...]     PEER: the program that bench/peer/setup builds; TEST_ARCHS: build/tests/test_archs

The prompt of a case is 44 random ids, eight of them twice, from a seed that rises until the greedy continuation is
nowhere near a tie. Given cases are written anew and the others kept."""

import array
import json
import os
import random
import subprocess
import sys
import tempfile

LENGTH, GREEDY, LEAST_GAP = 44, 24, 0.03
GELU = {"codeshell", "starcoder", "gemma2", "gemma3", "gemma4", "mpt", "bert", "modern-bert"}
MIN_COSINE = {"gemma3-62": 0.9999}  # the reference rounds GELU to half precision, 62 times
CLASSES = {"bert-rerank-bare": 2, "qwen3-rerank": 2}
NOTES = {
    "olmo": "layer norm without weights, clamped q, k and v",
    "qwen2vl": "rotation in sections; a tiny epsilon, which the reference takes as 0",
    "phimoe": "RMS norm with bias, longrope, experts renormalised, output bias",
    "mellum": "windows by list, YaRN on full layers alone",
    "gemma2-46": "scores scaled by the width over the heads",
    "gemma3-62": "scores scaled by the width over the heads",
    "llama4-128": "no norm of q and k",
    "qwen3next-fused": "old ssm_in",
    "stablelm-parallel": "one norm for attention and FFN, norms of q and k for every head",
    "command-r-64": "norms of q and k for every head, from 64 layers on",
    "mpt-alibi": "max_alibi_bias 16, 6 heads, biases everywhere",
    "mpt-clamp": "max_alibi_bias 4, clamp_kqv 0.5, grouped queries, untied output",
    "qwen2moe-early": "widths of experts from feed_forward_length",
    "codeshell-one": "the embedding stored as output.weight alone",
    "llama-scales": "a factor for every matrix, before the bias; factors of inputs, which nobody uses",
    "cohere2moe-scales": "a factor for every expert",
    "gemma4-scales": "a vector on the router's input, a factor for every expert",
    "laguna-yarn": "YaRN on full layers alone",
    "cohere2moe-keys": "dense layers first by a number as pattern; sigmoid when no key says other; a draft layer",
    "bert-rerank": "dense layer, tanh, one class",
    "bert-rerank-bare": "two classes without a dense layer, no pooling_type",
    "modern-bert-rerank": "dense layer, GELU, norm, one class",
    "qwen3-rerank": "last token, softmax over two classes",
}


def prompt(name, seed, n_vocab, bert):
    rng = random.Random(f"{name} {seed}")
    ids = [rng.randrange(5 if bert else 0, n_vocab - (0 if bert else 3)) for _ in range(LENGTH)]
    at, to = rng.randrange(1, 12), rng.randrange(20, 28)
    ids[to : to + 8] = ids[at : at + 8]
    return [2] + ids[1 : LENGTH - 1] + [3] if bert else ids


def text(ids):
    return ",".join(str(i) for i in ids)


class Peer:
    def __init__(self, program, folder):
        self.program, self.out = program, os.path.join(folder, "out.f32")

    def run(self, *args):
        return subprocess.run([self.program, *args], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout

    def floats(self):
        values = array.array("f")
        with open(self.out, "rb") as f:
            values.frombytes(f.read())
        return values

    def logits(self, model, ids):
        self.run("logits", model, text(ids), self.out, "exact")
        return self.floats()

    def embedding(self, model, ids, pooling):
        self.run("embed", model, text(ids), self.out, str(pooling))
        return self.floats()

    def greedy(self, model, ids):
        return [int(i) for i in self.run("greedy", model, text(ids), str(GREEDY)).split(",")]


def least_gap(logits, n_vocab, n, greedy):
    """Distance of the best two logits where the greedy ids were chosen; 0 where one is not the best."""
    least = float("inf")
    for i, chosen in enumerate(greedy):
        row = logits[(n - 1 + i) * n_vocab : (n + i) * n_vocab]
        best, second = sorted(row, reverse=True)[:2]
        least = min(least, best - second if row[chosen] == best else 0)
    return least


def describe(name, arch, ids, n_vocab, values):
    gelu = arch in GELU
    mean = sum(values) / len(values)
    return {
        "file": name + ".gguf",
        "architecture": arch,
        "tokens": ids,
        "n_vocab": n_vocab,
        "features": [NOTES[name]] if name in NOTES else [],
        "tolerance": {"max_abs_over_max_logit": 5e-3 if gelu else 2e-3, "min_cosine": MIN_COSINE.get(name, 0.99999)},
        "max_logit": round(max(abs(v) for v in values), 5),
        "std_logit": round((sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5, 5),
    }


def decoder(peer, name, arch, model, out):
    n_vocab = 121
    for seed in range(100):
        ids = prompt(name, seed, n_vocab, False)
        greedy = peer.greedy(model, ids)
        gap = least_gap(peer.logits(model, ids + greedy[:-1]), n_vocab, LENGTH, greedy)
        if gap >= LEAST_GAP and len(set(greedy)) >= 4:
            break
    else:
        raise SystemExit(f"{name}: no prompt without a near tie")
    values = peer.logits(model, ids)
    case = describe(name, arch, ids, n_vocab, values)
    case.update(logits=name + ".logits.f32", greedy=greedy, greedy_min_gap=round(gap, 5))
    with open(os.path.join(out, name + ".logits.f32"), "wb") as f:
        f.write(values.tobytes())
    return case


def reranker(peer, name, arch, model, out):
    """Only scores count: the peer's first values, one a class, for several prompts."""
    bert = "bert" in arch
    prompts = [prompt(name, seed, 131 if bert else 121, bert) for seed in range(4)]
    scores = [list(peer.embedding(model, ids, 4)[: CLASSES.get(name, 1)]) for ids in prompts]
    return {
        "file": name + ".gguf",
        "architecture": arch,
        "texts": prompts,
        "scores": scores,
        "features": [NOTES[name]],
        "tolerance": {"max_abs": 5e-3 if arch in GELU else 1e-4},
    }


def architecture(model):
    with open(model, "rb") as f:
        head = f.read(200)
    at = head.index(b"general.architecture") + len("general.architecture") + 4
    n = int.from_bytes(head[at : at + 8], "little")
    return head[at + 8 : at + 8 + n].decode()


def main():
    program, tests, out, *wanted = sys.argv[1:]
    cases_path = os.path.join(out, "cases.json")
    cases = {}
    if wanted and os.path.exists(cases_path):
        with open(cases_path, encoding="utf-8") as f:
            cases = json.load(f)
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(program, folder)
        names = subprocess.run([tests, "--write", folder], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        for name in names:
            model = os.path.join(folder, name + ".gguf")
            if wanted and name not in wanted:
                continue
            arch = architecture(model)
            make = reranker if "rerank" in name else decoder
            cases[name] = make(peer, name, arch, model, out)
            print(name, {k: cases[name].get(k) for k in ("greedy_min_gap", "max_logit", "std_logit", "scores")}, flush=True)
    with open(cases_path, "w", encoding="utf-8") as f:
        rows = [f"{json.dumps(n)}: {json.dumps(cases[n], separators=(',', ':'))}" for n in names if n in cases]
        f.write("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
