"""The program that runs OpenVINO in a separate process, see `fxbin.openvino.process`.

A folder contains the job:

    job.json, inputs.npz  ->  result.json, outputs.npz

Each job announces its steps, and each step may take `time_limit` seconds.
"""
