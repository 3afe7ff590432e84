# Calls NAME of SOURCE as evalchemy's harness for LiveCodeBench does: with arguments that it guesses from
# the text of a test, line by line. SOURCE and NAME are set before this text.
import json


def guessed(text):
    # Lists are JSON, quoted text loses its quotes, numbers are numbers, the rest is text.
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return json.loads(text)
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text.strip('"')
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def arguments(text):
    if "=" not in text:
        return [guessed(line) for line in text.split("\n") if line.strip()]
    pairs = [part.split("=") for part in text.split(",")]
    return [guessed(value) for _, value in pairs]


def thinkery_call(text):
    scope = {}
    exec(compile(SOURCE, "program.py", "exec", dont_inherit=True), scope)
    return scope[NAME](*arguments(text))
