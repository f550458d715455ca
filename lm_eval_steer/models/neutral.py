"""Arguments of the harness's model classes that change no response: sizes, places, and where files come from.

Runs that differ in these alone share records and sweeps and are compared without a remark.
"""

from __future__ import annotations

NEUTRAL = frozenset(
    (
        *("batch_size", "max_batch_size", "device"),
        # HFLM, and what it hands on to transformers and accelerate
        *("device_map", "parallelize", "max_memory_per_gpu", "max_cpu_memory", "offload_folder", "tp_plan"),
        *("cache_dir", "token"),
        # VLLM, and what it hands on to vLLM
        *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"),
        *("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_memory_bytes"),
        *("num_gpu_blocks_override", "cpu_offload_gb", "enforce_eager", "enable_prefix_caching"),
        *("enable_chunked_prefill", "speculative_config", "disable_log_stats", "worker_extension_cls"),
        *("download_dir", "hf_token"),
        # SteeredGGUF
        *("n_threads", "n_gpu_layers"),
    )
)
