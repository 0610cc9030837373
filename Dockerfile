# The page and infer.py on a CPU, as a user without rights.
#   docker build -t bts .
#   docker run --rm -p 127.0.0.1:7860:7860 -e BTS_APP_PASSWORD bts
#   docker run --rm -v "$PWD/scans:/scans:ro" -v "$PWD/results:/results" --user "$(id -u)" bts infer /scans --out /results
FROM python:3.11-slim

WORKDIR /opt/bts
COPY constraints.txt ./
# PyTorch's CPU wheels, in the versions of constraints.txt: those of the registry bring 4.3 GB of libraries for NVIDIA GPUs.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch torchvision

COPY setup.cfg setup.py pyproject.toml MANIFEST.in README.md LICENSE ./
COPY configs ./configs
COPY bts ./bts
RUN pip install --no-cache-dir -c constraints.txt ".[app,onnx,openvino,dicom]" \
 && useradd --create-home --uid 10001 bts
USER bts
WORKDIR /home/bts
ENV HOME=/home/bts PYTHONUNBUFFERED=1
EXPOSE 7860
ENTRYPOINT ["bts"]
CMD ["app", "--host", "0.0.0.0", "--password"]
