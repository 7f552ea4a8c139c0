//! Weight files as bytes: safetensors in and out, PyTorch's own format in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use burn::store::pytorch::PytorchReader;
use burn::store::pytorch_reader;
use burn::tensor::{Bytes, DType, Shape, TensorData};
use safetensors::SafeTensors;

use crate::tensors::error::{WeightsError, WeightsProblem};
use crate::tensors::state::{HostTensor, State};

/// Text beside the tensors of a safetensors file.
pub(crate) type Texts = BTreeMap<String, String>;

/// Reads any weight file that we understand; the texts are empty for PyTorch's format.
pub(crate) fn read(path: &Path) -> Result<(State, Texts), WeightsError> {
    let problem = |problem| WeightsError::Unusable { path: path.to_owned(), problem };
    let bytes = std::fs::read(path)
        .map_err(|source| WeightsError::Read { path: path.to_owned(), source })?;
    // Content decides, not the file's name: safetensors begins with the length of a JSON object.
    if bytes.get(8) == Some(&b'{') {
        read_safetensors(&bytes).map_err(problem)
    } else {
        read_pytorch(path).map(|state| (state, Texts::new())).map_err(problem)
    }
}

fn read_safetensors(bytes: &[u8]) -> Result<(State, Texts), WeightsProblem> {
    let format = |_: safetensors::SafeTensorError| WeightsProblem::Format;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(format)?;
    let texts = metadata
        .metadata()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut state = State::new();
    for (name, view) in SafeTensors::deserialize(bytes).map_err(format)?.iter() {
        let dtype = match view.dtype() {
            safetensors::Dtype::F64 => DType::F64,
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            _ => continue,
        };
        state
            .insert(name.to_owned(), host_tensor(name, view.data().to_vec(), view.shape(), dtype)?);
    }
    Ok((state, texts))
}

fn read_pytorch(path: &Path) -> Result<State, WeightsProblem> {
    let reader = PytorchReader::new(path).map_err(|_| WeightsProblem::Format)?;
    let mut state = State::new();
    for (name, tensor) in reader.tensors() {
        let dtype = match tensor.dtype() {
            pytorch_reader::DType::F64 => DType::F64,
            pytorch_reader::DType::F32 => DType::F32,
            pytorch_reader::DType::F16 => DType::F16,
            pytorch_reader::DType::BF16 => DType::BF16,
            _ => continue,
        };
        let bytes = tensor.read().map_err(|_| WeightsProblem::Format)?;
        state.insert(name.clone(), host_tensor(name, bytes, tensor.shape(), dtype)?);
    }
    Ok(state)
}

fn host_tensor(
    name: &str,
    bytes: Vec<u8>,
    shape: &[usize],
    dtype: DType,
) -> Result<HostTensor, WeightsProblem> {
    let misfit = || WeightsProblem::Values { name: name.to_owned() };
    let data = TensorData::try_from_bytes(
        Bytes::from_bytes_vec(bytes),
        Shape::from(shape.to_vec()),
        dtype,
    )
    .map_err(|_| misfit())?;
    let values = data.convert::<f32>().try_into_vec::<f32>().map_err(|_| misfit())?;
    Ok(HostTensor { shape: shape.to_vec(), values })
}

/// Writes a safetensors file under another name first, then renames it, so that a half-written file
/// never has the final name.
///
/// Tensors and texts are ordered by name, so the same content gives the same bytes. (The
/// safetensors crate writes its texts in a random order.)
pub(crate) fn write(path: &Path, state: &State, texts: &Texts) -> Result<(), WeightsError> {
    let failure = |source| WeightsError::Write { path: path.to_owned(), source };
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!(texts));
    let mut offset = 0;
    for (name, tensor) in state {
        let end = offset + tensor.values.len() * size_of::<f32>();
        let entry = serde_json::json!({
            "dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end]
        });
        header.insert(name.clone(), entry);
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    // Blanks after the header keep the tensors aligned for readers that map the file.
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let body = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(File::create(&beside)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for tensor in state.values() {
            for value in &tensor.values {
                file.write_all(&value.to_le_bytes())?;
            }
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&beside, path)?;
        // The new name itself has to reach the disk, too.
        match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    body().map_err(|error| {
        // What matters is the first error; a leftover is overwritten by the next attempt.
        let _ = std::fs::remove_file(&beside);
        failure(error)
    })
}
