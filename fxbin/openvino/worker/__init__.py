"""What runs OpenVINO in a process of its own, see `fxbin.openvino.process`.

A folder holds the job:

    job.json, inputs.npz  ->  result.json, outputs.npz

Each job names its steps as it comes to them, and a step may take `time_limit` seconds.
"""
