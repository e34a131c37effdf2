"""Do the packets show what the truth of TLS says?  Used by check.py; opens what keys open with tshark."""

import subprocess

FIN, RST = 1, 4
ALERT, HANDSHAKE, DATA = 0x15, 0x16, 0x17
CROSSING = 0.06  # what the other side sends this long after a close, in seconds, is no answer to it


def records(segments):
    """The TLS records of one side: type, body, segment in which each begins.  Repeated packets count once."""
    stream, starts, seen = b"", [], set()
    for segment in segments:
        if segment.length and segment.seq not in seen:
            seen.add(segment.seq)
            starts.append((len(stream), segment))
            stream += segment.payload
    found, at = [], 0
    while at + 5 <= len(stream):
        length = int.from_bytes(stream[at + 3:at + 5], "big")
        found.append((stream[at], stream[at + 5:at + 5 + length], [s for start, s in starts if start <= at][-1]))
        at += 5 + length
    return found


def looks_like(flow, ending):
    """Whether a handshake ended as the truth says: who, and with which alert."""
    own = [s for s in flow if s.from_target == (ending["by"] == "target")]
    hello = any(kind == HANDSHAKE for kind, _, _ in records([s for s in flow if not s.from_target])[:1])
    if not hello:
        return False
    if ending["reason"] == "plaintext":
        return any(s.payload.startswith(b"HTTP/") for s in own)
    if ending["alert"] is None:
        closes = [s for s in flow if s.flags & (FIN | RST)]
        return any(s in own and s.time - closes[0].time < CROSSING for s in closes)
    kinds = [(kind, body) for kind, body, _ in records(own)]
    if ending["encrypted"]:
        return kinds[-1][0] == DATA and len(kinds[-1][1]) == 19
    return any(kind == ALERT and body[1:] == bytes([ending["alert"]]) for kind, body in kinds)


def check_connections(truth, path, segments):
    """What is wrong with the labels of handshakes that failed."""
    flows = {}
    for segment in segments:
        flows.setdefault(segment.stream, []).append(segment)
    wrong = []
    for connection in truth["connections"]:
        if "tls" in connection:
            found = [flow for stream, flow in flows.items() if stream >= 0 and looks_like(flow, connection["tls"])]
            if len(found) != connection["count"]:
                wrong.append(f"{path}: {len(found)} handshakes end with {connection['tls']}, "
                             f"the log has {connection['count']}")
    return wrong


def opened(path, port, keys):
    """What is inside, by tshark: the frame of each request's target, and the frames of answers by stream."""
    command = ["tshark", "-n", "-r", path, "-d", f"tcp.port=={port},tls", "-o", f"tls.keylog_file:{keys}",
               "-o", "tcp.reassemble_out_of_order:TRUE", "-o", "http.desegment_body:FALSE", "-Y", "http",
               "-T", "fields"]
    for field in ("frame.number", "tcp.stream", "http.request.uri", "ip.src"):
        command += ["-e", field]
    requests, answers = {}, {}
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        frame, stream, targets, source = line.split("\t")
        for target in filter(None, targets.split(",")):
            requests[target] = int(frame)
        if not targets:
            answers.setdefault(int(stream), []).append((int(frame), source))
    return requests, answers


def check_requests(truth, side, path, segments, keys, fits):
    """What is wrong with the labels of requests inside TLS; `fits(cause, request, answer)` knows the packets."""
    wrong = []
    requests, answers = opened(path, truth["target"]["port"], keys)
    by_number = {segment.number: segment for segment in segments}
    for row in truth["requests"]:
        label = row["cause"][side]
        causes = label if isinstance(label, list) else [label]
        where, frame = f"{path}: {row['target']}", requests.get(row["target"])
        if frame is None:
            if row["ok"] or None not in causes:
                wrong.append(f"{where}: keys do not open the request, label {causes}")
        elif causes != [None]:
            request = by_number[frame]
            later = [number for number, _ in answers.get(request.stream, []) if number > frame]
            if not any(fits(cause, request, b"HTTP" if later else b"") for cause in causes):
                wrong.append(f"{where}: frame {frame}, stream {request.stream} does not look like {causes}")
    return wrong
