"""Chat templates that behave like those of four model families: their tokens, and which roles they take."""

_GENERATE = "{% if add_generation_prompt %}"

# Trims every turn; a system message is a turn like any other.
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    + _GENERATE
    + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# ChatML. Trims nothing; puts in a system message of its own where there is none.
QWEN25 = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    + _GENERATE
    + "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Refuses a system message and turns that do not alternate; calls the assistant "model".
GEMMA2 = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    + _GENERATE
    + "{{ '<start_of_turn>model\n' }}{% endif %}"
)
# ChatML with a separator of its own and no line feeds.
PHI4 = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    + _GENERATE
    + "{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)

ALL = {"llama3": LLAMA3, "qwen25": QWEN25, "gemma2": GEMMA2, "phi4": PHI4}
