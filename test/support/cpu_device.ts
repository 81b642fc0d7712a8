// The jest project "cpu": `auto` is the CPU also where there is a CUDA device, in this process and in commands it runs.
process.env.NATIVE_DEVICE = 'cpu';
