"""Renders chat templates with Jinja2 set up as in the transformers library: the reference for this package's tests.

    python3 oracle.py TEMPLATE_DIR > oracle.json       # digests of what each template makes of each conversation
    python3 oracle.py --show TEMPLATE CONVERSATION     # one rendering, or the error
    python3 oracle.py --cases > cases.out.json         # the snippets of cases.json
"""
import datetime, hashlib, json, os, sys
import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import SandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line) if False else body


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime(2025, 3, 9, 14, 5, 7).strftime(f)
    return env


def message(m, objects):
    d = {"role": m["role"], "content": m["content"]}
    for key, name in (("reasoning", "reasoning_content"), ("tool_call_id", "tool_call_id"), ("name", "name")):
        if m.get(key):
            d[name] = m[key]
    if m.get("tool_calls"):
        d["tool_calls"] = [{"id": c["id"], "type": "function", "function": {
            "name": c["name"], "arguments": json.loads(c["arguments"]) if objects else c["arguments"]}} for c in m["tool_calls"]]
    return d


def render(source, c):
    last = None
    for objects in (True, False):
        try:
            return environment().from_string(source).render(
                messages=[message(m, objects) for m in c["messages"]], tools=c.get("tools"), documents=None,
                add_generation_prompt=c["generate"], bos_token="<s>", eos_token="</s>", **c.get("variables", {}))
        except Exception as e:
            last = last or e
    raise last


def main():
    conversations = json.load(open(os.path.join(HERE, "conversations.json")))
    if sys.argv[1] == "--show":
        c = next(c for c in conversations if c["name"] == sys.argv[3])
        sys.stdout.write(render(open(sys.argv[2]).read(), c))
        return
    if sys.argv[1] == "--cases":
        out = []
        for c in json.load(open(os.path.join(HERE, "cases.json"))):
            try:
                out.append({"template": c, "out": environment().from_string(c).render(
                    messages=[message(m, True) for m in conversations[6]["messages"]], tools=conversations[6]["tools"], bos_token="<s>")})
            except Exception as e:
                out.append({"template": c, "error": str(e)})
        json.dump(out, sys.stdout, indent=1, ensure_ascii=False)
        return
    out = {}
    for name in sorted(os.listdir(sys.argv[1])):
        source = open(os.path.join(sys.argv[1], name), newline="").read()
        out[name] = {}
        for c in conversations:
            try:
                out[name][c["name"]] = hashlib.sha256(render(source, c).encode()).hexdigest()
            except Exception as e:
                out[name][c["name"]] = "error: " + str(e)
    json.dump(out, sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


main()
