#!/usr/bin/env python3
"""Draws where the CPU of an intent goes: reads what `perf script` prints, writes an SVG. bench/profile.sh runs it.

A sample belongs to the innermost of its frames that says what the time is for: memory that JSON takes is JSON, and the
kernel's work for a write to a socket is sockets.
"""

import argparse
import collections
import html
import re
import sys

# The picture's rows and their colours.
CRYPTO, NETWORK, TEXTS, DISK, THREADS, REST = "#3b82f6", "#10b981", "#f59e0b", "#ef4444", "#a855f7", "#7c8795"
GROUPS = {
    "signing": CRYPTO, "verifying": CRYPTO, "key agreement": CRYPTO, "sealing": CRYPTO, "hashes, tokens": CRYPTO,
    "kernel: sockets": NETWORK, "HTTP": NETWORK, "WebSocket": NETWORK, "JSON": TEXTS, "SQLite": DISK, "fdatasync": DISK,
    "scheduling": THREADS, "our own logic": REST, "other": REST,
}
OTHER = "other"

# Of the kernel's frames together; the first rule that one of them meets counts. What meets none (a page fault, an
# interrupt, a log line) belongs to the function that it happened in.
KERNEL_RULES = [
    ("fdatasync", r"fdatasync|fsync"),
    ("kernel: sockets", r"sys_(sendmsg|recvmsg|sendto|recvfrom|accept4?|connect|close|shutdown|setsockopt|getpeername|"
                        r"epoll_ctl)\b"),
    ("SQLite", r"sys_(pwrite64|pread64|fcntl|ftruncate|openat|newfstatat|lseek|unlink)\b"),
    ("scheduling", r"^(__)?schedule$|futex|eventfd|sched_yield|ret_from_fork|reschedule_ipi"),
    ("kernel: sockets", r"epoll_wait"),
]
# Of functions, without their parameters and template arguments, from the innermost out.
RULES = [
    ("signing", r"Ed25519Keys::sign$|crypto_sign_(ed25519_)?detached"),
    ("verifying", r"Ed25519Keys::verify$|crypto_sign_(ed25519_)?verify_detached|checkEd25519PublicKeys"),
    ("key agreement", r"SealKeys::|crypto_kx|crypto_scalarmult"),
    ("sealing", r"SealedChannel::|crypto_secretstream"),
    ("hashes, tokens", r"identity::|msgpack::|base64|hexEncode|hexDecode|auditHash|SHA\d+_"),
    ("JSON", r"simdjson|JsonWriter|appendEscaped|protocol::|nlohmann|json_abi|basic_json|Scanner::|split(Object|Array)"),
    ("SQLite", r"sqlite"),
    ("HTTP", r"HttpSession|SessionExchange|beast::http|answerHead|parseTarget|RestApi|Gatekeeper|control::Core|"
             r"control::Body|control::rest"),
    ("WebSocket", r"WsImpl|WsConnection|beast::websocket"),
    ("scheduling", r"ThreadPool|ThreadLanes|ThreadEvents|StateQueue|pthread_(cond|mutex)|lll_lock|condition_variable|"
                   r"IoLoop::post|asio::detail::(scheduler|epoll_reactor|executor_op)|sched_yield"),
    ("our own logic", r"vaultysclaw::"),
]
KERNEL_RULES = [(name, re.compile(rule)) for name, rule in KERNEL_RULES]
RULES = [(name, re.compile(rule)) for name, rule in RULES]
# What wakes a loop that waits in the kernel, by another of its calls.
WAKES = re.compile(r"epoll_reactor::interrupt")
BY_LIBRARY = {"libsqlite3": "SQLite", "libsimdjson": "JSON"}


def bare(function, cache={}):
    """`a::b<c>(d)` without what is in brackets."""
    if function not in cache:
        text = function.replace("(anonymous namespace)::", "").replace("operator()", "operator")
        before = None
        while before != text:
            before = text
            text = re.sub(r"<[^<>]*>|\([^()]*\)", "", text)
        cache[function] = text
    return cache[function]


def group_of(frames):
    """`frames` are (function, library) from the innermost out."""
    kernel = [function for function, library in frames if library.startswith(("[kernel", "[guest"))]
    if any(WAKES.search(function) for function, _ in frames[len(kernel):len(kernel) + 2]):
        return "scheduling"
    for name, rule in KERNEL_RULES:
        if any(rule.search(function) for function in kernel):
            return name
    user = frames[len(kernel):]
    for function, library in user:
        library = library.rsplit("/", 1)[-1].split(".")[0]
        if library in BY_LIBRARY:
            return BY_LIBRARY[library]
        for name, rule in RULES:
            if rule.search(bare(function)):
                return name
    # X25519 is written in assembler without a description of its stack: nothing outside of it is seen.
    if user and "libsodium" in user[0][1]:
        return "key agreement"
    return OTHER


def read_samples(lines):
    """Yields (process id, thread's name, frames)."""
    head = re.compile(r"^(.*?)\s+(\d+)/(\d+)\s")
    frame = re.compile(r"^\s+[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \(([^()]*(?:\([^()]*\))?[^()]*)\)$")
    pid, name, frames = None, "", []
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if pid is not None:
                yield pid, name, frames
            pid = None
        elif not line[0].isspace():
            found = head.match(line + " ")
            if found:
                name, pid, frames = found.group(1).strip(), int(found.group(2)), []
        else:
            found = frame.match(line)
            if found:
                frames.append((found.group(1), found.group(2)))
    if pid is not None:
        yield pid, name, frames


class Process:
    def __init__(self, title, pid, micros):
        self.title, self.pid, self.micros = title, pid, micros
        self.groups, self.threads = collections.Counter(), collections.Counter()
        self.unknown = collections.Counter()  # frames of what is "other", for whoever mends the rules

    def add(self, thread, frames):
        group = group_of(frames)
        self.groups[group] += 1
        self.threads[thread] += 1
        if group == OTHER:
            self.unknown[" < ".join(function for function, _ in frames[:6]) or "no frames"] += 1

    @property
    def samples(self):
        return sum(self.groups.values())

    def micros_of(self, count):
        return self.micros * count / self.samples


WIDTH, MARGIN, LABELS, GAP = 980, 24, 128, 26
PANEL = (WIDTH - 2 * MARGIN - LABELS - GAP) / 2
NUMBERS = 92  # room right of the longest bar
TOP, ROW, BAR = 118, 25, 15
THREAD_COLOURS = ["#0ea5e9", "#f97316", "#84cc16", "#d946ef", "#64748b"]
STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de } .strong { fill: #1f2328 } .text { fill: #424a53 } .faint { fill: #6e7781 }
  .rail { fill: #eaeef2 } text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
  @media (prefers-color-scheme: dark) {
    .card { fill: #161b22; stroke: #30363d } .strong { fill: #f0f6fc } .text { fill: #c9d1d9 } .faint { fill: #8b949e }
    .rail { fill: #262c36 }
  }
"""


def text(x, y, words, style="text", size=13, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{html.escape(words)}</text>')


def bar(x, y, width, colour, words):
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{BAR}" rx="2" fill="{colour}">'
            f'<title>{html.escape(words)}</title></rect>')


def draw(processes, about):
    names = [name for name in GROUPS if any(p.micros_of(p.groups[name]) >= 0.2 for p in processes)]
    longest = max(p.micros_of(max(p.groups.values())) for p in processes)
    scale = (PANEL - NUMBERS) / longest
    below = TOP + ROW * len(names) + 34
    height = below + 122
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
           f'aria-label="CPU time of one intent by what it is spent on">', f"<style>{STYLE}</style>",
           f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8" class="card"/>',
           text(MARGIN, 36, "What one intent costs, and on what", "strong", 18, weight="600"),
           text(MARGIN, 58, about, "faint", 12)]
    for row, name in enumerate(names):
        out.append(text(MARGIN + LABELS - 10, TOP + row * ROW + 12.5, name, anchor="end"))
    for column, process in enumerate(processes):
        x = MARGIN + LABELS + column * (PANEL + GAP)
        out.append(text(x, TOP - 20, f"{process.title}: {process.micros:.0f} µs of CPU", "strong", 14, weight="600"))
        for row, name in enumerate(names):
            y, micros = TOP + row * ROW, process.micros_of(process.groups[name])
            share = 100 * process.groups[name] / process.samples
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{PANEL - NUMBERS:.1f}" height="{BAR}" rx="2" class="rail"/>')
            if process.groups[name] == 0:
                out.append(text(x + PANEL - 40, y + 12.5, "none", "faint", 12.5, "end"))
                continue
            out.append(bar(x, y, micros * scale, GROUPS[name], f"{name}: {micros:.1f} µs"))
            out.append(text(x + PANEL - 40, y + 12.5, f"{micros:.0f} µs" if micros >= 10 else f"{micros:.1f} µs",
                            "strong", 12.5, "end"))
            out.append(text(x + PANEL, y + 12.5, f"{share:.0f} %", "faint", 12.5, "end"))
        out.append(text(x, below, "on which thread", "faint", 12))
        at, y = x, below + 9
        shown = process.threads.most_common(4)
        shown.append(("others", process.samples - sum(count for _, count in shown)))
        legend = 0
        for (name, count), colour in zip(shown, THREAD_COLOURS):
            if count == 0:
                continue
            width, micros = PANEL * count / process.samples, process.micros_of(count)
            out.append(bar(at, y, width - 1, colour, f"{name}: {micros:.0f} µs"))
            at += width
            lx, ly = x + (legend % 2) * PANEL / 2, y + 36 + (legend // 2) * 20
            out.append(f'<rect x="{lx:.1f}" y="{ly - 9:.1f}" width="10" height="10" rx="2" fill="{colour}"/>')
            out.append(text(lx + 16, ly, f"{name} {micros:.0f} µs", size=12))
            legend += 1
    out.append("</svg>\n")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--process", action="append", nargs=3, metavar=("TITLE", "PID", "MICROS"), required=True)
    parser.add_argument("--about", required=True, help="one line below the title")
    parser.add_argument("--svg", required=True)
    arguments = parser.parse_args()
    processes = [Process(title, int(pid), float(micros)) for title, pid, micros in arguments.process]
    by_pid = {process.pid: process for process in processes}
    thread_names = {"vaultysclaw": "store writer and main", "vc_bench_herd": "handler lanes and main"}
    for pid, thread, frames in read_samples(sys.stdin):
        if pid in by_pid:
            by_pid[pid].add(thread_names.get(thread, thread), frames)
    for process in processes:
        if process.samples < 200:
            sys.exit(f"profile: only {process.samples} samples of the {process.title.lower()}: nothing to draw")
    with open(arguments.svg, "w", encoding="utf-8") as file:
        file.write(draw(processes, arguments.about))
    for process in processes:
        print(f"{process.title}: {process.micros:.0f} us per intent, {process.samples} samples")
        for name, count in process.groups.most_common():
            print(f"  {name:18} {process.micros_of(count):7.1f} us {100 * count / process.samples:5.1f} %")
        for frames, count in process.unknown.most_common(5):
            print(f"    other: {process.micros_of(count):5.1f} us  {frames[:150]}")


if __name__ == "__main__":
    main()
