//! Networks with random weights at the shapes that people publish and train: speed without a file.

use anyhow::Result;
use clap::ValueEnum;
use fastpix::Network;
use fastpix::families::{gated_pixelcnn, pixelcnnpp, wavenet};

/// Shapes by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// PixelCNN++ as published for CIFAR-10: 5 resnets per level, 160 filters, 10 mixtures.
    Pixelcnnpp,
    /// Gated PixelCNN over the codes of a VQ-VAE: 512 codes, 64 channels, 15 layers, 10 classes.
    VqvaePrior,
    /// The defaults of TensorFlow Probability's PixelCNN: as pixelcnnpp, in its dialect.
    Tfp,
    /// WaveNet vocoder of 24 layers, a mixture of 10 logistics, mel frames.
    #[value(name = "vocoder-24")]
    Vocoder24,
    /// WaveNet vocoder of 30 layers, 256 mu-law classes, mel frames.
    #[value(name = "vocoder-30")]
    Vocoder30,
    /// Fast WaveNet as published: 2 blocks of 14 layers, 128 hidden, 256 classes.
    FastWavenet,
}

/// Decides the weights.
const SEED: u64 = 1;

impl Family {
    /// A network of this shape.
    pub fn network(self) -> Result<Network> {
        let pixelcnn = |hyper| pixelcnnpp::random(&hyper, SEED);
        let vocoder = |hyper: wavenet::Vocoder| wavenet::random(&hyper.into(), SEED);
        Ok(match self {
            Self::Pixelcnnpp => pixelcnn(pixelcnnpp::Hyperparameters::published_cifar())?,
            Self::Tfp => pixelcnn(pixelcnnpp::Hyperparameters::tensorflow_probability())?,
            Self::VqvaePrior => {
                gated_pixelcnn::random(&gated_pixelcnn::Hyperparameters::vqvae_prior(), SEED)?
            }
            Self::Vocoder24 => vocoder(wavenet::Vocoder::mol())?,
            Self::Vocoder30 => vocoder(wavenet::Vocoder::mulaw256())?,
            Self::FastWavenet => wavenet::random(&wavenet::FastWaveNet::published().into(), SEED)?,
        })
    }
}
