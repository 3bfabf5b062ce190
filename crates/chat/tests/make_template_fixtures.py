"""Renders the template shapes below with transformers and writes fixtures/templates.json.

Oracle: transformers 5.23.0 with jinja2 3.1.6 from PyPI, the versions that stand in the fixture.

    python -m venv venv && venv/bin/pip install transformers==5.23.0 jinja2==3.1.6 numpy
    venv/bin/python make_template_fixtures.py

The templates are written for this purpose: each is the shape of a family's public template, cut
down to its structure, with its markers and its turns of jinja.
"""

import datetime
import json
import pathlib

import jinja2
import transformers
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 11, 3, 9, 5, 7)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = Clock

T = {}
T["chatml"] = """{% for message in messages %}
{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}"""
T["hermes_tools"] = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' }}
            {{- call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
T["think_split"] = """{%- set ns = namespace(multi=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'assistant' %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or reasoning) %}
            {{- '[A]<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '[A]' + content }}
        {%- endif %}
    {%- else %}
        {{- '[' + message.role + ']' + content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[A]' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""
T["think_opened"] = """{{- bos_token }}{% for m in messages %}{{ '<' ~ m.role ~ '>' ~ (m.content or '') }}{% endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}{% endif %}"""
T["llama3"] = """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
    {{- first + "<|eot_id|>" }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("This model only supports single tool-calls at once!") }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + call.name + '", ' }}{{- '"parameters": ' }}{{- call.arguments | tojson }}{{- "}" }}{{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""
T["mistral_strict"] = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}"""
T["mistral_v11"] = """{{- bos_token }}{%- for message in messages %}
{%- if message.role == 'user' %}{{- '[INST]' + message.content + '[/INST]' }}
{%- elif message.role == 'system' %}{{- '[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]' }}
{%- elif message.role == 'assistant' %}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- if message.tool_calls %}{%- for call in message.tool_calls %}{{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + (call.function.arguments | tojson) }}{%- endfor %}{%- endif %}
{{- eos_token }}
{%- elif message.role == 'tool' %}{{- '[TOOL_RESULTS]' + message.content + '[/TOOL_RESULTS]' }}
{%- else %}{{- raise_exception('Only user, system, assistant and tool roles are supported.') }}
{%- endif %}{%- endfor %}"""
T["gemma3"] = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
"""
T["gemma4"] = """{%- macro value(v) -%}
    {%- if v is string -%}{{- '<|"|>' + v + '<|"|>' -}}
    {%- elif v is boolean -%}{{- 'true' if v else 'false' -}}
    {%- elif v is mapping -%}{{- '{' -}}{%- for k, x in v | dictsort -%}{%- if not loop.first %},{% endif -%}{{- k + ':' -}}{{- value(x) -}}{%- endfor -%}{{- '}' -}}
    {%- elif v is iterable -%}{{- '[' -}}{%- for x in v -%}{%- if not loop.first %},{% endif -%}{{- value(x) -}}{%- endfor -%}{{- ']' -}}
    {%- else -%}{{- v -}}{%- endif -%}
{%- endmacro -%}
{{ bos_token }}
{%- if tools or (messages and messages[0].role == 'system') or enable_thinking -%}
    {{- '<|turn>system\n' -}}
    {%- if enable_thinking %}{{- '<|think|>' -}}{% endif -%}
    {%- if messages[0].role == 'system' %}{{- messages[0].content | trim -}}{% endif -%}
    {%- for tool in tools or [] %}{{- '<|tool>declaration:' + tool.function.name + value(tool.function.parameters) + '<tool|>' -}}{% endfor -%}
    {{- '<turn|>\n' -}}
{%- endif -%}
{%- for message in messages if message.role != 'system' -%}
    {{- '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\n' -}}
    {%- for call in message.tool_calls or [] -%}
        {{- '<|tool_call>call:' + call.function.name + '{' -}}
        {%- for k, x in call.function.arguments.items() -%}{%- if not loop.first %},{% endif -%}{{- k + ':' -}}{{- value(x) -}}{%- endfor -%}
        {{- '}<tool_call|>' -}}
    {%- endfor -%}
    {{- message.content | trim if message.content else '' -}}
    {{- '<turn|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{- '<|turn>model\n' -}}{% endif -%}"""
T["harmony"] = """{%- macro render_type(spec) -%}
    {%- if spec.type == "array" -%}{{- render_type(spec['items']) + "[]" -}}
    {%- elif spec.type is defined and spec.type is iterable and spec.type is not string and spec.type is not mapping -%}{{- spec.type | join(" | ") -}}
    {%- elif spec.enum -%}{{- '"' + spec.enum|join('" | "') + '"' -}}
    {%- elif spec.type in ["integer", "number"] -%}number
    {%- else -%}{{- spec.type or "any" -}}{%- endif -%}
{%- endmacro -%}
{{- "<|start|>system<|message|>Current date: " + strftime_now("%Y-%m-%d") + "\\nReasoning: " + (reasoning_effort or "medium") + "<|end|>" }}
{%- set developer_message = "" %}
{%- if messages[0].role in ["developer", "system"] %}
    {%- set developer_message = messages[0].content %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if developer_message or tools %}
    {{- "<|start|>developer<|message|>" }}
    {%- if developer_message %}{{- "# Instructions\\n\\n" + developer_message }}{%- endif %}
    {%- if tools %}
        {{- "# Tools\\nnamespace functions {\\n" }}
        {%- for tool in tools %}
            {%- set tool = tool.function %}
            {{- "// " + tool.description + "\\ntype " + tool.name + " = (_: {\\n" }}
            {%- for param, spec in tool.parameters.properties.items() %}
                {%- if spec.description %}{{- "// " + spec.description + "\\n" }}{%- endif %}
                {{- param }}{%- if param not in (tool.parameters.required or []) %}{{- "?" }}{%- endif %}{{- ": " + render_type(spec) + ",\\n" }}
            {%- endfor %}
            {{- "}) => any;\\n" }}
        {%- endfor %}
        {{- "}" }}
    {%- endif %}
    {{- "<|end|>" }}
{%- endif %}
{%- set last_tool_call = namespace(name=none) %}
{%- for message in loop_messages -%}
    {%- if message.role == 'assistant' -%}
        {%- if "tool_calls" in message %}
            {%- if "thinking" in message %}{{- "<|start|>assistant<|channel|>analysis<|message|>" + message.thinking + "<|end|>" }}{%- endif %}
            {%- set call = message.tool_calls[0].function %}
            {{- "<|start|>assistant to=functions." + call.name + "<|channel|>commentary json<|message|>" }}
            {{- call.arguments|tojson }}{{- "<|call|>" }}
            {%- set last_tool_call.name = call.name %}
        {%- else %}
            {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|end|>" }}
            {%- set last_tool_call.name = none %}
        {%- endif %}
    {%- elif message.role == 'tool' -%}
        {%- if last_tool_call.name is none %}{{- raise_exception("Message has tool role, but there was no previous assistant message with a tool call!") }}{%- endif %}
        {{- "<|start|>functions." + last_tool_call.name + " to=assistant<|channel|>commentary<|message|>" + message.content|tojson + "<|end|>" }}
    {%- elif message.role == 'user' -%}
        {{- "<|start|>user<|message|>" + message.content + "<|end|>" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}"""
T["qwen_xml"] = """{%- macro render_extra_keys(json_dict, handled_keys) %}
    {%- if json_dict is mapping %}
        {%- for json_key in json_dict if json_key not in handled_keys %}
            {%- if json_dict[json_key] is mapping or (json_dict[json_key] is sequence and json_dict[json_key] is not string) %}
                {{- '\\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | tojson | safe) ~ '</' ~ json_key ~ '>' }}
            {%- else %}
                {{-'\\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | string) ~ '</' ~ json_key ~ '>' }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{% endmacro %}
{%- for tool in tools or [] %}
    {%- if tool.function is defined %}{%- set tool = tool.function %}{%- endif %}
    {{- "\\n<function>\\n<name>" ~ tool.name ~ "</name>" }}
    {%- if tool.description is defined %}{{- '\\n<description>' ~ (tool.description | trim) ~ '</description>' }}{%- endif %}
    {%- if tool.parameters is defined and tool.parameters is mapping and tool.parameters.properties is defined and tool.parameters.properties is mapping %}
        {%- for param_name, param_fields in tool.parameters.properties|items %}
            {{- '\\n<parameter>\\n<name>' ~ param_name ~ '</name>' }}
            {%- if param_fields.type is defined %}{{- '\\n<type>' ~ (param_fields.type | string) ~ '</type>' }}{%- endif %}
            {%- set handled_keys = ['name', 'type'] %}
            {{- render_extra_keys(param_fields, handled_keys) }}
            {{- '\\n</parameter>' }}
        {%- endfor %}
    {%- endif %}
    {{- render_extra_keys(tool.parameters, ['type', 'properties']) }}
    {{- '\\n</function>' }}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "assistant" and message.tool_calls is defined and message.tool_calls is iterable and message.tool_calls | length > 0 %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content is defined and message.content is string and message.content | trim | length > 0 %}{{- '\\n' + message.content | trim + '\\n' }}{%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n<function=' + tool_call.name + '>\\n' }}
            {%- if tool_call.arguments is defined %}
                {%- for args_name, args_value in tool_call.arguments|items %}
                    {{- '<parameter=' + args_name + '>\\n' }}
                    {%- set args_value = args_value | tojson | safe if args_value is mapping or (args_value is sequence and args_value is not string) else args_value | string %}
                    {{- args_value }}
                    {{- '\\n</parameter>\\n' }}
                {%- endfor %}
            {%- endif %}
            {{- '</function>\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response>' }}
        {%- if not loop.last and loop.nextitem.role != "tool" %}{{- '<|im_end|>\\n' }}{%- elif loop.last %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
T["qwen35_strict"] = """{%- set content_of = namespace(n=0) %}
{%- macro render_content(content, is_system_content=false) %}
    {%- if content is string %}{{- content }}
    {%- elif content is iterable and content is not mapping %}
        {%- for item in content %}
            {%- if 'image' in item or item.type == 'image' %}
                {%- if is_system_content %}{{- raise_exception('System message cannot contain images.') }}{%- endif %}
                {{- '<|vision|>' }}
            {%- elif 'text' in item %}{{- item.text }}
            {%- else %}{{- raise_exception('Unexpected item type in content.') }}{%- endif %}
        {%- endfor %}
    {%- elif content is none or content is undefined %}{{- '' }}
    {%- else %}{{- raise_exception('Unexpected content type.') }}{%- endif %}
{%- endmacro %}
{%- if not messages %}{{- raise_exception('No messages provided.') }}{%- endif %}
{%- set ns = namespace(found=false) %}
{%- for message in messages[::-1] %}{%- if message.role == "user" %}{%- set ns.found = true %}{%- break %}{%- endif %}{%- endfor %}
{%- if not ns.found %}{{- raise_exception('No user query found in messages.') }}{%- endif %}
{%- for message in messages %}
    {%- set content = render_content(message.content, true)|trim %}
    {%- if message.role == "system" %}
        {%- if not loop.first %}{{- raise_exception('System message must be at the beginning.') }}{%- endif %}
        {{- '<|im_start|>system\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == "user" %}{{- '<|im_start|>user\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>assistant\\n' + content }}
        {%- if message.tool_calls and message.tool_calls is iterable and message.tool_calls is not mapping %}
            {%- for tool_call in message.tool_calls %}
                {%- set f = tool_call.function %}
                {{- '\\n<tool_call>\\n<function=' + f.name + '>\\n' }}
                {%- for k, v in f.arguments|items %}{{- '<parameter=' + k + '>\\n' + (v | tojson if v is not string else v) + '\\n</parameter>\\n' }}{%- endfor %}
                {{- '</function>\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}{{- '<|im_start|>user\\n<tool_response>\\n' + content + '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}{{- raise_exception('Unexpected message role.') }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- else %}{{- '<think>\\n' }}{%- endif %}
{%- endif %}"""
T["deepseek"] = """{%- if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set ns = namespace(is_first=false, is_tool=false, system_prompt='', is_first_sp=true) %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {%- if ns.is_first_sp %}{%- set ns.system_prompt = ns.system_prompt + message['content'] %}{%- set ns.is_first_sp = false %}
        {%- else %}{%- set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] %}{%- endif %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}{{ ns.system_prompt }}
{%- for message in messages %}
    {%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<\uff5cUser\uff5c>' + message['content']}}{%- endif %}
    {%- if message['role'] == 'assistant' and 'tool_calls' in message %}
        {%- set ns.is_tool = false -%}
        {%- for tool in message['tool_calls'] %}
            {%- if loop.first %}{{'<\uff5cAssistant\uff5c>' ~ (message['content'] or '') ~ '<\uff5ctool\u2581calls\u2581begin\uff5c>'}}{%- endif %}
            {{- '<\uff5ctool\u2581call\u2581begin\uff5c>' + tool['type'] + '<\uff5ctool\u2581sep\uff5c>' + tool['function']['name'] + '\n' + '```json' + '\n' + (tool['function']['arguments'] | tojson) + '\n' + '```' + '<\uff5ctool\u2581call\u2581end\uff5c>' }}
        {%- endfor %}
        {{- '<\uff5ctool\u2581calls\u2581end\uff5c>' + eos_token }}
    {%- elif message['role'] == 'assistant' %}
        {%- set content = message['content'] %}
        {%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}
        {{- '<\uff5cAssistant\uff5c>' + content + eos_token }}
    {%- endif %}
    {%- if message['role'] == 'tool' %}{{- '<\uff5ctool\u2581output\u2581begin\uff5c>' + message['content'] + '<\uff5ctool\u2581output\u2581end\uff5c>' }}{%- endif %}
{%- endfor -%}
{% if add_generation_prompt and not ns.is_tool %}{{'<\uff5cAssistant\uff5c><think>\n'}}{% endif %}"""
T["glm"] = """[gMASK]<sop>
{%- if tools -%}
<|system|>
# Tools
<tools>
{% for tool in tools %}
{{ tool | tojson(ensure_ascii=False) }}
{% endfor %}
</tools>
{%- endif -%}
{%- macro visible_text(content) -%}
    {%- if content is string -%}
        {{- content }}
    {%- elif content is iterable and content is not mapping -%}
        {%- for item in content -%}
            {%- if item is mapping and item.type == 'text' -%}
                {{- item.text }}
            {%- elif item is string -%}
                {{- item }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{- content }}
    {%- endif -%}
{%- endmacro -%}
{% for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ visible_text(m.content) }}
{{- '/nothink' if (enable_thinking is defined and not enable_thinking and not visible_text(m.content).endswith("/nothink")) else '' -}}
{%- elif m.role == 'assistant' -%}
<|assistant|>
{%- if m.content and m.content.strip() -%}
{{ '\n' + m.content.strip() }}
{%- endif -%}
{% if m.tool_calls %}
{% for tc in m.tool_calls %}
{%- if tc.function %}{%- set tc = tc.function %}{%- endif %}
{{ '\n<tool_call>' + tc.name }}
{% set _args = tc.arguments %}
{% for k, v in _args.items() %}
<arg_key>{{ k }}</arg_key>
<arg_value>{{ v | tojson(ensure_ascii=False) if v is not string else v }}</arg_value>
{% endfor %}
</tool_call>{% endfor %}
{% endif %}
{%- elif m.role == 'tool' -%}
{%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|observation|>' }}{%- endif %}
{{- '\n<tool_response>\n' }}{{- m.content }}{{- '\n</tool_response>' }}
{%- elif m.role == 'system' -%}
<|system|>
{{ visible_text(m.content) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    <|assistant|>{{- '\n<think></think>' if (enable_thinking is defined and not enable_thinking) else '' -}}
{%- endif -%}"""
T["kimi"] = """{%- if tools -%}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson(separators=(',', ':')) }}<|im_end|>{%- endif -%}
{%- for message in messages -%}
  {%- if loop.first and messages[0]['role'] != 'system' -%}<|im_system|>system<|im_middle|>You are an assistant<|im_end|>{%- endif -%}
  {%- if message['role'] == 'system' -%}<|im_system|>system<|im_middle|>
  {%- elif message['role'] == 'user' -%}<|im_user|>user<|im_middle|>
  {%- elif message['role'] == 'assistant' -%}<|im_assistant|>assistant<|im_middle|>
  {%- else -%}<|im_system|>tool<|im_middle|>{%- endif -%}
  {%- if message['role'] == 'assistant' and message.get('tool_calls') -%}
    {%- if message['content'] -%}{{ message['content'] }}{%- endif -%}
    <|tool_calls_section_begin|>
    {%- for tool_call in message['tool_calls'] -%}
      {%- set func_name = tool_call['function']['name'] -%}
      {%- set formatted_id = 'functions.' + func_name + ':' + loop.index0|string -%}
      <|tool_call_begin|>{{ formatted_id }}<|tool_call_argument_begin|>{% if tool_call['function']['arguments'] is string %}{{ tool_call['function']['arguments'] }}{% else %}{{ tool_call['function']['arguments'] | tojson }}{% endif %}<|tool_call_end|>
    {%- endfor -%}
    <|tool_calls_section_end|>
  {%- elif message['role'] == 'tool' -%}
    ## Return of {{ message.tool_call_id }}\n{{ message['content'] }}
  {%- elif message['content'] is string -%}{{ message['content'] }}
  {%- elif message['content'] is not none -%}
    {%- for content in message['content'] -%}{%- if content['type'] == 'text' -%}{{ content['text'] }}{%- endif -%}{%- endfor -%}
  {%- endif -%}
  <|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>{%- endif -%}"""
T["minimax"] = """{%- for message in messages -%}
{{- ']~b]' ~ message.role ~ '\n' -}}
{%- if message.tool_calls -%}
{{- (message.content or '') ~ '\n<minimax:tool_call>\n' -}}
{%- for tool_call in message.tool_calls -%}
{%- if tool_call.function -%}{%- set tool_call = tool_call.function -%}{%- endif -%}
{{- '<invoke name="' + tool_call.name + '">\n' -}}
{%- set _args = tool_call.arguments -%}
{%- for k, v in _args.items() -%}
{{- '<parameter name="' + k + '">' -}}{{- v | tojson(ensure_ascii=False) if v is not string else v -}}{{- '</parameter>\n' -}}
{%- endfor -%}
{{- '</invoke>\n' -}}
{%- endfor -%}
{{- '</minimax:tool_call>' -}}
{%- else -%}{{- message.content -}}{%- endif -%}
{{- '[e~[\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- ']~b]ai\n<think>\n' -}}{%- endif -%}"""
T["granite3"] = """{%- if tools %}{{- '<|start_of_role|>available_tools<|end_of_role|>' }}{%- for tool in tools %}{{- tool | tojson(indent=4) }}{%- if not loop.last %}{{- '\n\n' }}{%- endif %}{%- endfor %}{{- '<|end_of_text|>\n' }}{%- endif %}
{%- if thinking is defined and thinking %}{{- '<|thinking|>' }}{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- '<|start_of_role|>assistant<|end_of_role|><|tool_call|>[' }}
        {%- for call in message.tool_calls %}{{- {"name": call.function.name, "arguments": call.function.arguments} | tojson }}{%- if not loop.last %}, {% endif %}{%- endfor %}
        {{- ']<|end_of_text|>\n' }}
    {%- else %}
        {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\n' }}
    {%- endif %}
    {%- if loop.last and add_generation_prompt %}{{- '<|start_of_role|>assistant' }}{%- if controls %}{{- ' ' + controls | tojson() }}{%- endif %}{{- '<|end_of_role|>' }}{%- endif %}
{%- endfor %}"""
T["phi4_mini"] = """{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"""
T["phi4"] = """{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'assistant') %}{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""
T["lfm2"] = """{{- bos_token -}}
{%- set system_prompt = "" -%}
{%- set ns = namespace(system_prompt="") -%}
{%- if messages[0]["role"] == "system" -%}
	{%- set ns.system_prompt = messages[0]["content"] -%}
	{%- set messages = messages[1:] -%}
{%- endif -%}
{%- if tools -%}
	{%- set ns.system_prompt = ns.system_prompt + ("\n" if ns.system_prompt else "") + "List of tools: <|tool_list_start|>[" -%}
	{%- for tool in tools -%}
		{%- if tool is not string -%}{%- set tool = tool | tojson -%}{%- endif -%}
		{%- set ns.system_prompt = ns.system_prompt + tool -%}
		{%- if not loop.last -%}{%- set ns.system_prompt = ns.system_prompt + ", " -%}{%- endif -%}
	{%- endfor -%}
	{%- set ns.system_prompt = ns.system_prompt + "]<|tool_list_end|>" -%}
{%- endif -%}
{%- if ns.system_prompt -%}{{- "<|im_start|>system\n" + ns.system_prompt + "<|im_end|>\n" -}}{%- endif -%}
{%- for message in messages -%}
	{{- "<|im_start|>" + message["role"] + "\n" -}}
	{%- set content = message["content"] -%}
	{%- if content is not string -%}{%- set content = content | tojson -%}{%- endif -%}
	{%- if message["role"] == "tool" -%}{%- set content = "<|tool_response_start|>" + content + "<|tool_response_end|>" -%}{%- endif -%}
	{{- content + "<|im_end|>\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|im_start|>assistant\n" -}}{%- endif -%}"""
T["smollm3"] = """{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}
{%- set reasoning_mode = "/think" if enable_thinking else "/no_think" -%}
{{- "<|im_start|>system\n" -}}
{%- set system_message = "" -%}
{%- if messages[0].role == "system" -%}{%- set system_message = messages[0].content.replace("/no_think", "").replace("/think", "").rstrip() -%}{%- endif -%}
{{- "Today Date: " ~ strftime_now("%d %B %Y") ~ "\nReasoning Mode: " + reasoning_mode + "\n\n" -}}
{%- if system_message -%}{{- system_message + "\n\n" -}}{%- endif -%}
{%- if xml_tools or tools -%}
  {%- for tool in (xml_tools or tools) -%}{{- (tool | string) ~ "\n" -}}{%- endfor -%}
{%- endif -%}
{{- "<|im_end|>\n" -}}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else "" -%}
    {%- if message.role == "user" -%}{{ "<|im_start|>" + message.role + "\n"  + content + "<|im_end|>\n" }}
    {%- elif message.role == "assistant" -%}
        {%- generation -%}
        {{- "<|im_start|>assistant\n" + ("<think>\n\n</think>\n" if not enable_thinking else "") + content.lstrip("\n") + "<|im_end|>\n" -}}
        {%- endgeneration -%}
    {%- elif message.role == "tool" -%}{{ "<|im_start|>user\n" + content + "<|im_end|>\n" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\n" if enable_thinking else "<|im_start|>assistant\n<think>\n\n</think>\n" }}{%- endif -%}"""
T["olmo3"] = """{%- set has_system = messages|selectattr('role', 'equalto', 'system')|list|length > 0 -%}
{%- if not has_system -%}{{- '<|im_start|>system\nYou are a helpful assistant. ' -}}{%- if tools is none -%}{{- 'No functions.<|im_end|>\n' -}}{%- else -%}{{- '<functions>' + (tools | tojson) + '</functions><|im_end|>\n' -}}{%- endif -%}{%- endif -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}{{- '<|im_start|>system\n' + message['content'] -}}{%- if tools is not none -%}{{- '<functions>' + (tools | tojson) + '</functions>' -}}{%- endif -%}{{- '<|im_end|>\n' -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- '<|im_start|>assistant\n' -}}
        {%- if message.get('content', none) is not none -%}{{- message['content'] -}}{%- endif -%}
        {%- if message.get('tool_calls', none) is not none -%}
            {{- '<function_calls>' -}}
            {%- for tool_call in message['tool_calls'] -%}
                {{- tool_call['function']['name'] + '(' -}}
                {%- for key, value in tool_call['function']['arguments'].items() -%}{{- key + '=' + (value | tojson) -}}{%- if not loop.last -%}{{- ', ' -}}{%- endif -%}{%- endfor -%}
                {{- ')' -}}{%- if not loop.last -%}{{- '\n' -}}{%- endif -%}
            {%- endfor -%}
            {{- '</function_calls>' -}}
        {%- endif -%}
        {%- if not loop.last -%}{{- '<|im_end|>\n' -}}{%- else -%}{{- eos_token -}}{%- endif -%}
    {%- else -%}{{- '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') + '<|im_end|>\n' -}}{%- endif -%}
    {%- if loop.last and add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
{%- endfor -%}"""
T["documents"] = """{% if documents %}{% for doc in documents %}
{{ loop.index }}. {{ doc.title | upper }}: {{ doc['text'] }}
{% endfor %}{% endif %}{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}
"""
T["generation_block"] = """{% for message in messages %}
{% if message.role == 'assistant' %}
<a>
{% generation %}
{{ message.content }}{% endgeneration %}

{%- else %}
<{{ message.role }}>{{ message.content }}
{% endif %}
{% endfor %}
"""
T["loop_controls"] = """{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% if loop.index > 3 %}{% break %}{% endif %}{{ loop.index }}/{{ loop.length }} {{ loop.cycle('a', 'b') }} {{ m.role }}={{ m.content }};{% else %}none{% endfor %}"""
T["printing"] = """{{ none }}|{{ true }}|{{ false }}|{{ 1.0 }}|{{ 1e20 }}|{{ [1, 'a', none, true, {'k': "it's"}] }}|{{ {'a': [1.5, "x\\ny"]} }}|{{ undefined_name }}|{{ messages[0] }}|{{ messages[0].content }}|{{ tools }}|{{ add_generation_prompt }}|{{ 7 // 2 }}|{{ 7 / 2 }}|{{ 2 ** 3 }}|{{ -7 % 3 }}|{{ 'a' * 3 }}|{{ [1, 2] + [3] }}"""
T["filters"] = """{% set c = messages[-1].content or '' %}{{ c | trim | upper | lower | title }}|{{ c | length }}|{{ c | replace('a', 'b') }}|{{ c | default('none') }}|{{ x | default('dflt') }}|{{ '' | default('empty', true) }}|{{ [3, 1, 2] | sort | join('-') }}|{{ [1, 2, 3] | first }}{{ [1, 2, 3] | last }}|{{ messages | map(attribute='role') | list | join(',') }}|{{ messages | rejectattr('role', 'equalto', 'user') | list | length }}|{{ messages | selectattr('content', 'string') | list | length }}|{{ c | indent(2) }}|{{ c[:3] }}|{{ c[-2:] }}|{{ c[::-1] }}|{{ ['b', 'a', 'b'] | unique | list | join }}|{{ {'b': 1, 'a': 2} | dictsort | first | join('=') }}|{{ 3.7 | int }}|{{ '5' | int + 1 }}|{{ [1, none, ''] | select | list | length }}|{{ c | string }}|{{ 'a,b' .split(',') | join(';') }}|{{ c is string }}{{ c is mapping }}{{ messages is sequence }}{{ c is sequence }}{{ messages[0] is sequence }}{{ messages[0] is iterable }}{{ 1 is number }}{{ true is number }}{{ none is none }}{{ x is defined }}"""
T["methods"] = """{% set c = messages[-1].content or '' %}{{ c.strip() }}|{{ c.lstrip() }}|{{ c.rstrip('. \\n') }}|{{ c.upper() }}|{{ c.title() }}|{{ c.capitalize() }}|{{ c.split() | join('_') }}|{{ c.split(' ', 1) | last }}|{{ c.rsplit(' ', 1) | first }}|{{ c.startswith('a') }}|{{ c.endswith(('x', '?')) }}|{{ c.find('a') }}|{{ c.count('a') }}|{{ c.replace('a', 'o') }}|{{ c.replace('a', 'o', 1) }}|{{ c.splitlines() | length }}|{{ c.removeprefix('Wh') }}|{{ c.removesuffix('?') }}|{{ '-'.join(['a', 'b']) }}|{{ messages[0].get('role') }}|{{ messages[0].get('nope', 'dflt') }}|{{ messages[0].keys() | list | join(',') }}|{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}|{{ '{} and {}'.format(1, 'b') }}|{{ '%s-%d' | format('a', 3) }}|{{ c.isdigit() }}{{ '12'.isdigit() }}{{ 'Ab'.isalpha() }}"""
T["tojson_options"] = """{{ messages | tojson }}|{{ messages | tojson(indent=2) }}|{{ messages | tojson(ensure_ascii=True) }}|{{ messages | tojson(separators=(',', ':')) }}|{{ messages[0] | tojson(sort_keys=True) }}|{{ [] | tojson(indent=2) }}|{{ 'a<b>&\\'' | tojson }}|{{ tools | tojson(indent=4) }}"""
T["whitespace"] = """  {% if true %}
  a
    {% endif %}
{# a comment #}
  b {# inline #} c
  {%- if true -%}
  d
  {%+ if true %}
  e
  {% endif +%}
  {{ 'f' }}
  {{- 'g' -}}
  {% raw %}{{ raw }}{% endraw %}
  {% endif %}
{% set x %}
 block {{ 'set' }}
{% endset %}
[{{ x }}]
{% macro m(a, b='z') %}
<{{ a }}{{ b }}>
{% endmacro %}
{{ m('p') }}{{ m('q', b='r') }}
{% call(u) m2 %}{% endcall %}
""".replace("{% call(u) m2 %}{% endcall %}\n", "")
T["trailing_newlines"] = "{% for m in messages %}{{ m.content }}\n{% endfor %}\n\n"
T["set_scoping"] = """{% set found = false %}{% set ns = namespace(found=false, items=[]) %}{% for m in messages %}{% set found = true %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.items = ns.items + [m.content] %}{% endif %}{% endfor %}{{ found }} {{ ns.found }} {{ ns.items | length }}{% if messages | length > 1 %}{% set inner = 'kept' %}{% endif %} {{ inner }}"""

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city, e.g. \"Zürich\"", "parameters": {
        "type": "object", "properties": {
            "city": {"type": "string", "description": "The city's name"},
            "days": {"type": "integer", "minimum": 1},
            "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city"]}}},
    {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}},
]


def call(name, args, id="abcdef123"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": args}}


U, A, S = (lambda role: lambda text: {"role": role, "content": text})("user"), (lambda t: {"role": "assistant", "content": t}), (lambda t: {"role": "system", "content": t})
C = {
    "user": [U("What is a crab?")],
    "system_user": [S("Be brief."), U("Hi")],
    "turns": [S(" Be brief.\n"), U("Hi"), A("Hello.\n"), U("  What about\nthat? ")],
    "thought": [U("Hi"), A("<think>\nhm\n</think>\n\nHello"), U("And?")],
    "reasoning_content": [U("Hi"), {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}],
    "reasoning": [U("Hi"), {"role": "assistant", "content": "Hello", "reasoning": "hm"}, U("And?")],
    "call": [U("Weather?"), {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "Zürich \"x\"", "days": 3})]},
             {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"t\": 21.5}"}],
    "call_null": [U("Weather?"), {"role": "assistant", "content": None, "tool_calls": [call("now", {})]},
                  {"role": "tool", "tool_call_id": "abcdef123", "content": "noon"}, A("Noon."), U("Thanks")],
    "two_calls": [S("Go."), U("Both?"), {"role": "assistant", "content": "Looking.", "tool_calls": [
        call("get_weather", {"city": "Rome", "unit": "celsius"}), call("now", {}, "abcdef124")]},
        {"role": "tool", "tool_call_id": "abcdef123", "content": "sun"}, {"role": "tool", "tool_call_id": "abcdef124", "content": "noon"}],
    "call_string": [U("Weather?"), {"role": "assistant", "content": "", "tool_calls": [call("now", "{}")]}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "Look at"}, {"type": "text", "text": "that"}]}],
    "late_system": [U("Hi"), A("Hello"), S("Now be brief."), U("Go")],
    "two_users": [U("Hi"), U("there")],
    "assistant_first": [A("Welcome"), U("Hi")],
    "tool_first": [{"role": "tool", "tool_call_id": "abcdef123", "content": "x"}, U("Hi")],
    "developer": [{"role": "developer", "content": "Be brief."}, U("Hi")],
    "unicode": [U("naïve 🦀 «ß» \u2028 \t\x7f <b>&amp;</b> {{ x }}")],
}
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
DOCS = [{"title": "Crabs", "text": "They walk sideways."}]


def options():
    yield {}
    yield {"add_generation_prompt": True}
    yield {"add_generation_prompt": True, "tools": True}
    yield {"add_generation_prompt": True, "kwargs": {"enable_thinking": False, "reasoning_effort": "high"}}


def main():
    cases = []
    for name, source in T.items():
        for conversation, messages in C.items():
            for option in options():
                wanted = dict(option)
                kwargs = {**SPECIALS, **wanted.get("kwargs", {})}
                if name == "documents":
                    kwargs["documents"] = DOCS
                case = {"template": name, "messages": conversation, **option}
                try:
                    text, _ = chat_template_utils.render_jinja_template(
                        [json.loads(json.dumps(messages))], tools=TOOLS if wanted.get("tools") else None, chat_template=source,
                        add_generation_prompt=wanted.get("add_generation_prompt", False), **kwargs)
                    case["text"] = text[0]
                except jinja2.exceptions.TemplateError as error:
                    refused = type(error) is jinja2.exceptions.TemplateError
                    case["refused" if refused else "fails"] = str(error)
                except Exception as error:
                    case["fails"] = str(error)
                cases.append(case)
    continued = []
    for name in ["chatml", "hermes_tools", "llama3", "gemma3", "glm", "granite3"]:
        for text in ["The answer is", "Trailing space "]:
            messages = [U("Hi"), A(text)]
            case = {"template": name, "last": text}
            try:
                rendered, _ = chat_template_utils.render_jinja_template(
                    [messages], chat_template=T[name], continue_final_message=True, **SPECIALS)
                case["text"] = rendered[0]
            except Exception as error:
                case["fails"] = str(error)[:80]
            continued.append(case)
    # The same text is stored once.
    texts = []
    index = {}
    for case in cases:
        if "text" in case:
            text = case.pop("text")
            case["is"] = index.setdefault(text, len(index))
            if case["is"] == len(texts):
                texts.append(text)
    fixture = {
        "oracle": f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}",
        "now": NOW.isoformat(), "specials": SPECIALS, "documents": DOCS, "tools": TOOLS,
        "templates": T, "messages": C, "texts": texts, "cases": cases, "continued": continued,
    }
    path = pathlib.Path(__file__).parent / "fixtures" / "templates.json"
    lines = ",\n".join(f" {json.dumps(key)}: " + (
        "[\n" + ",\n".join("  " + json.dumps(item, ensure_ascii=False) for item in value) + "\n ]"
        if key in ("texts", "cases", "continued") else json.dumps(value, ensure_ascii=False)) for key, value in fixture.items())
    path.write_text("{\n" + lines + "\n}\n")
    print(len(T), "templates,", len(cases), "cases,", sum("fails" in case for case in cases), "fail,", sum("refused" in case for case in cases), "refused")


main()
