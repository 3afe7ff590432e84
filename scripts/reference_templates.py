#!/usr/bin/env python3
"""Writes tests/it/golden/templates.json: chat templates and what transformers renders with them.

Run by hand, in an environment with transformers and jinja2. The templates are our own; each uses
something that published ones use.
"""

import json
import pathlib

import transformers
from transformers.utils.chat_template_utils import render_jinja_template

FILE = pathlib.Path(__file__).resolve().parent.parent / "tests" / "it" / "golden" / "templates.json"

USER = {"role": "user", "content": "  What is 2 + 2?\n"}
BOT = {"role": "assistant", "content": "<think>\nlet me see\n</think>\n\nIt is 4."}
SYSTEM = {"role": "system", "content": " Be brief. "}
MORE = {"role": "user", "content": "Größer als 3? 😀 <b>\"ja\"</b> & 'nein' \\ "}
CONVERSATIONS = [[USER], [SYSTEM, USER], [USER, BOT, MORE], [SYSTEM, USER, BOT, MORE, BOT, USER]]

TEMPLATES = {
    "blocks are trimmed": """
{% for message in messages %}
    {% if message.role == 'user' %}
Q: {{ message.content }}
    {% elif message.role == 'system' %}
S: {{ message.content }}
    {%- else -%}
        A: {{ message['content'] -}}
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
A:
{% endif %}
""",
    "a namespace outlives its loop": """{%- set ns = namespace(system='', seen=0, last=none) -%}
{%- for m in messages -%}
{%- if m['role'] == 'system' -%}{%- set ns.system = m['content'] | trim -%}
{%- else -%}{%- set ns.seen = ns.seen + 1 -%}{%- set ns.last = m -%}{%- endif -%}
{%- endfor -%}
{{ bos_token }}[{{ ns.system }}] {{ ns.seen }} {{ ns.last.role }} {{ ns.last.content }}{{ eos_token }}""",
    "thoughts are cut from earlier turns": """{%- set ns = namespace(last=messages|length - 1) -%}
{%- for message in messages[::-1] -%}
{%- set index = messages|length - 1 - loop.index0 -%}
{%- if message.role == 'user' and ns.last == messages|length - 1 -%}{%- set ns.last = index -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{%- set content = message.content if message.content is string else '' -%}
{%- if message.role == 'assistant' -%}
{%- set thought = '' -%}
{%- if '</think>' in content -%}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{%- if loop.index0 > ns.last or loop.last -%}<{{ thought }}>{%- endif -%}
{{ '|a:' + content + '|\\n' }}
{%- else -%}
{{ '|' + message.role[0] + ':' + content + '|\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '|a:' }}
{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}""",
    "roles must alternate": """{{ bos_token }}{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Roles must alternate: ' ~ message['role'] ~ ' at ' ~ loop.index0) }}
{%- endif %}
{{- '[' ~ message['role'] | upper ~ '] ' ~ message['content'] | trim ~ eos_token }}
{%- endfor %}""",
    "tools that are not there": """{%- if tools is defined and tools is not none %}TOOLS{{ tools | tojson }}{% endif -%}
{%- if not documents is defined %}NODOC{% endif -%}
{%- if custom is defined %}CUSTOM{% endif -%}
{{- tools }}|{{ documents }}|{{ undefined_thing }}|{{ messages[0].tool_calls }}|
{%- for m in messages if m.role != 'system' %}{{ m.content | tojson }}{{ ',' if not loop.last }}{% endfor %}""",
    "json keeps order and characters": """{%- set thing = {'zeta': [1, 2.5, true, none, 'é<&>'], 'alpha': {'b': 'x\\ny', 'a': messages[0]}} -%}
{{ thing | tojson }}
{{ thing | tojson(indent=2) }}
{{ messages[-1] | tojson(ensure_ascii=true) }}
{{ thing | tojson(separators=(',', ':'), sort_keys=true) }}
{%- for key, value in thing.items() %} {{ key }}={{ value | tojson }}{% endfor -%}""",
    "values as python writes them": """{{ true }} {{ none }} {{ 1.0 }} {{ 3 }} {{ [1, 'a', none, true] }} {{ {'k': 'it\\'s', 'n': false} }}
{{ true | string + '!' }} {{ messages | length | string }} {{ ['a', 'b'] | join('-') }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 3 }}""",
    "methods of strings": """{%- set s = messages[-1].content -%}
{{ s.strip() }}|{{ s.upper() }}|{{ s.lower() }}|{{ s.title() }}|{{ s.strip().capitalize() }}|{{ s.split() | length }}|
{{- s.split(' ')[1] }}|{{ s.split(' ', 1)[-1] }}|{{ s.rsplit(' ', 1)[0] }}|{{ s.replace('i', 'I') }}|{{ s.startswith('  W') }}|
{{- s.strip().endswith(('?', '!')) }}|{{ s.find('i') }}|{{ s.rfind('i') }}|{{ s.find('zzz') }}|{{ s.count('i') }}|{{ '12'.isdigit() }}|{{ 'ab'.isalpha() }}|
{{- 'x'.join(['1', '2']) }}|{{ 'abc'.removeprefix('a') }}|{{ 'abc'.removesuffix('c') }}|{{ s[2:6] }}|{{ s[::-1] }}|{{ s.split(none, 1) }}|{{ s.splitlines() | length }}""",
    "loops can be left": """{%- for m in messages -%}
{%- if m.role == 'system' -%}{%- continue -%}{%- endif -%}
{{ m.role }};
{%- if m.role == 'assistant' -%}{%- break -%}{%- endif -%}
{%- else -%}never{%- endfor -%}""",
    "neighbours in a loop": """{%- for m in messages -%}
{{ loop.index }}/{{ loop.length }}{{ ' first' if loop.first }}{{ ' last' if loop.last }} {{ loop.previtem.role if loop.previtem is defined else '-' }}>{{ loop.nextitem.role if loop.nextitem is defined else '-' }};
{%- endfor -%}""",
    "macros and captured blocks": """{%- macro turn(role, content='', end=true) -%}
<{{ role }}>{{ content }}{% if end %}</{{ role }}>{% endif %}
{%- endmacro -%}
{%- set head %}[{{ messages | length }} messages]{% endset -%}
{{ head }}
{%- for m in messages %}{{ turn(m.role, m.content | trim) }}{% endfor %}{{ turn('assistant', end=false) if add_generation_prompt }}""",
    "what the model wrote is marked": """{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{%- generation -%}
{{ m.content }}{{ eos_token }}
{%- endgeneration -%}
{%- else %}
{% generation %}
{{ m.content }}
{% endgeneration %}
{% endif -%}
{%- endfor -%}""",
    "lists are chosen from": """{%- set users = messages | selectattr('role', 'equalto', 'user') | list -%}
{{ users | length }} {{ (messages | map(attribute='role') | list) | join(',') }} {{ messages | rejectattr('role', 'equalto', 'user') | list | length }}
{{ users[0]['content'] | default('none', true) | trim }} {{ (messages | last).role }} {{ (messages | first).role }}
{{ messages[0] is mapping }} {{ messages is iterable }} {{ messages[0].content is string }} {{ messages[0].get('name', 'nobody') }} {{ 'role' in messages[0] }}
{{ messages[1:] | length }} {{ range(3) | list | tojson }} {{ 'a' 'b' if false else 'c' }} {{ '%s' | length }}""",
}


def rendered(template: str, messages: list, prompt: bool, arguments: dict):
    try:
        texts, _ = render_jinja_template(
            [messages], chat_template=template, add_generation_prompt=prompt,
            bos_token="<s>", eos_token="</s>", **arguments,
        )
        return {"text": texts[0]}
    except Exception as error:  # a template may raise what it likes
        return {"error": str(error)}


cases = []
for name, template in TEMPLATES.items():
    for conversation, messages in enumerate(CONVERSATIONS):
        for prompt, arguments in [(True, {}), (False, {}), (True, {"enable_thinking": False, "custom": 1})]:
            outcome = rendered(template, messages, prompt, arguments)
            case = dict(name=name, conversation=conversation, prompt=prompt, arguments=arguments)
            cases.append(case | outcome)
FILE.write_text(
    json.dumps(
        {
            "transformers": transformers.__version__,
            "templates": TEMPLATES,
            "conversations": CONVERSATIONS,
            "cases": cases,
        },
        ensure_ascii=False,
    ) + "\n"
)
print(f"wrote {len(cases)} cases, {sum('error' in case for case in cases)} of them errors")
